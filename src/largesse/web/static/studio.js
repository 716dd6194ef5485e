(function () {
  "use strict";
  var colour = function (name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); };
  var theme = function () {
    return { "font.color": colour("--ink"), "hoverlabel.bgcolor": colour("--paper"), "hoverlabel.bordercolor": colour("--rule"),
      "hoverlabel.font.color": colour("--ink") };
  };
  var drawn = function () { return Array.prototype.slice.call(document.querySelectorAll("[data-figure].js-plotly-plot")); };

  // Charts: drawn where they are new; a mark shows the amount that the page is about.
  var mark = function () {
    var part = document.getElementById("moving"), at = part && part.dataset.mark;
    if (at === undefined || at === null || at === "") return;
    document.querySelectorAll("[data-marked].js-plotly-plot").forEach(function (plot) {
      var own = plot.ownShapes || [];
      Plotly.relayout(plot, { shapes: own.concat([{ type: "line", x0: Number(at), x1: Number(at), y0: 0, y1: 1, yref: "paper",
        line: { color: colour("--ink"), width: 2 } }]) });
    });
  };
  var draw = function () {
    if (!window.Plotly) return;
    document.querySelectorAll("[data-figure]:not(.js-plotly-plot)").forEach(function (plot) {
      var figure = JSON.parse(document.getElementById(plot.dataset.figure).textContent);
      plot.ownShapes = figure.layout.shapes || [];
      Plotly.newPlot(plot, figure.data, figure.layout, { responsive: true, displayModeBar: false });
      Plotly.relayout(plot, theme());
    });
    mark();
    reach();
  };
  var reach = function () { // a chart wider than its frame is scrolled by keyboard too
    document.querySelectorAll("figure").forEach(function (frame) {
      if (frame.scrollWidth > frame.clientWidth) frame.tabIndex = 0; else frame.removeAttribute("tabindex");
    });
  };
  window.addEventListener("resize", reach);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", function () {
    drawn().forEach(function (plot) { Plotly.relayout(plot, theme()); });
    mark();
  });
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (part) { part.open = true; });
    drawn().forEach(function (plot) { Plotly.relayout(plot, { "font.color": "#1c2128", width: 660 }); });
  });
  window.addEventListener("afterprint", function () {
    drawn().forEach(function (plot) { Plotly.relayout(plot, { width: null, autosize: true }); Plotly.relayout(plot, theme()); });
  });

  // A slider and its number: one sets the other. While it moves, only what moves is asked for, one request at a time.
  var waiting = null, pending = false;
  var ask = function (field) {
    if (pending) { waiting = field; return; }
    pending = true;
    htmx.trigger(field, "moved");
  };
  document.addEventListener("htmx:afterRequest", function () {
    pending = false;
    var field = waiting;
    waiting = null;
    if (field && field.isConnected) ask(field);
  });
  document.addEventListener("input", function (event) {
    var one = event.target, pair = one.dataset && one.dataset.pair;
    if (pair) {
      var field = document.getElementById(pair);
      field.value = Number(one.value).toString();
      if ("moving" in field.dataset) ask(field);
    } else if (one.id && one.id.indexOf("f-") === 0) {
      var range = document.querySelector('[data-pair="' + one.id + '"]');
      if (range) range.value = one.value.replace(/[,\s]/g, "");
    }
  });
  document.addEventListener("change", function (event) { // the slider at rest has been shown already
    var pair = event.target.dataset && event.target.dataset.pair;
    if (pair && "moving" in document.getElementById(pair).dataset) event.stopPropagation();
    var form = event.target.closest && event.target.closest("form[data-send]");
    if (form) form.requestSubmit();
  }, true);

  // What is shown follows the address, and so do downloads.
  var here = function () { return location.pathname + location.search; };
  document.addEventListener("click", function (event) {
    var one = event.target.closest("[data-now], [data-png], [data-copy], [data-print]");
    if (!one) return;
    if ("now" in one.dataset) { // the parameters of the page as they are now, with those of the link
      var link = new URL(one.getAttribute("href"), location.href), now = new URLSearchParams(location.search);
      if (link.searchParams.has("form")) {
        ["form", "table"].forEach(function (name) { if (link.searchParams.has(name)) now.set(name, link.searchParams.get(name)); });
        one.setAttribute("href", link.pathname + "?" + now.toString());
      }
    } else if ("png" in one.dataset) {
      Plotly.downloadImage(one.dataset.png, { format: "png", scale: 2, filename: one.dataset.png });
    } else if ("copy" in one.dataset) {
      var words = one.textContent;
      navigator.clipboard.writeText(location.origin + here()).then(function () {
        one.textContent = one.dataset.done;
        setTimeout(function () { one.textContent = words; }, 1500);
      });
    } else {
      window.print();
    }
  });

  // A change of a campaign is confirmed first.
  document.addEventListener("submit", function (event) {
    var form = event.target, question = form.dataset.confirm;
    if (!question || form.confirmed) return;
    event.preventDefault();
    var dialog = document.getElementById("confirm");
    dialog.querySelector("p").textContent = question;
    dialog.returnValue = "";
    dialog.onclose = function () {
      if (dialog.returnValue === "yes") { form.confirmed = true; form.requestSubmit(); }
    };
    dialog.showModal();
  }, true);

  // A page that is read anew by itself: not while a question is open, a field is filled or nobody looks; what was opened stays
  // open, the focus stays where it was, and an answer that is the same as before changes nothing.
  var before = "", open = [], focus = -1;
  var PLACES = "a, button, summary, input, select, textarea, [tabindex]";
  var within = function (what) { return Array.prototype.slice.call(document.querySelectorAll("#view " + what.split(", ").join(", #view "))); };
  var again = function (event) { return event.detail.elt && event.detail.requestConfig && event.detail.requestConfig.elt.id === "view"; };
  document.addEventListener("htmx:beforeRequest", function (event) {
    if (!again(event)) return;
    var field = document.activeElement;
    if (document.hidden || document.querySelector("dialog[open]") || (field && field.closest("form.settings"))) event.preventDefault();
  });
  document.addEventListener("htmx:beforeSwap", function (event) {
    if (!again(event)) return;
    if (event.detail.serverResponse === before) { event.detail.shouldSwap = false; return; }
    before = event.detail.serverResponse;
    open = within("details").map(function (part) { return part.open; });
    focus = within(PLACES).indexOf(document.activeElement);
  });
  document.addEventListener("htmx:afterSettle", function () {
    within("details").forEach(function (part, k) { if (open[k]) part.open = true; });
    var place = within(PLACES)[focus];
    if (place && document.activeElement === document.body) place.focus({ preventScroll: true });
    open = [];
    focus = -1;
  });

  var lost = function (is) { document.getElementById("lost").hidden = !is; };
  document.addEventListener("htmx:sendError", function () { lost(true); });
  document.addEventListener("htmx:afterOnLoad", function () { lost(false); });
  document.addEventListener("htmx:afterSettle", draw);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", draw); else draw();
})();
