(function () {
  var plots = Array.prototype.slice.call(document.querySelectorAll("[data-figure]"));
  var colour = function (name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  };
  var theme = function () {
    return { "font.color": colour("--ink"), "hoverlabel.bgcolor": colour("--paper"), "hoverlabel.bordercolor": colour("--rule"), "hoverlabel.font.color": colour("--ink") };
  };
  plots.forEach(function (div) {
    var figure = JSON.parse(document.getElementById(div.dataset.figure).textContent);
    var options = { responsive: true, displayModeBar: false };
    Plotly.newPlot(div, figure.data, figure.layout, options).then(function () { Plotly.relayout(div, theme()); });
  });
  document.querySelectorAll("[data-slider]").forEach(function (box) {
    var stops = JSON.parse(document.getElementById(box.dataset.slider).textContent);
    var input = box.querySelector("input"), bars = box.querySelectorAll(".bar span");
    var show = function () {
      var stop = stops[Number(input.value)];
      input.setAttribute("aria-valuetext", stop.note ? stop.name + ", " + stop.note : stop.name);
      box.querySelectorAll("[data-part]").forEach(function (part) { part.textContent = stop[part.dataset.part]; });
      box.querySelectorAll("[data-cell]").forEach(function (cell) { cell.textContent = stop.cells[cell.dataset.cell]; });
      box.querySelectorAll("[data-share]").forEach(function (share) {
        var k = share.dataset.share;
        share.textContent = stop.shares[k];
        bars[k].style.width = (parseFloat(stop.shares[k]) || 0) + "%";
      });
    };
    box.hidden = false; // without JavaScript there is no slider
    input.addEventListener("input", show);
    show();
  });
  var reach = function () { // a chart wider than its frame is scrolled by keyboard too
    document.querySelectorAll("figure").forEach(function (frame) {
      if (frame.scrollWidth > frame.clientWidth) frame.tabIndex = 0; else frame.removeAttribute("tabindex");
    });
  };
  reach();
  window.addEventListener("resize", reach);
  var paint = function (change) { plots.forEach(function (div) { Plotly.relayout(div, change()); }); };
  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  if (dark.addEventListener) dark.addEventListener("change", function () { paint(theme); });
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (part) { part.open = true; });
    paint(function () { return { "font.color": "#1c2128", width: 660 }; });
  });
  window.addEventListener("afterprint", function () {
    paint(function () { return { width: null, autosize: true }; });
    paint(theme);
  });
})();
