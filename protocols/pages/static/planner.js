// Sliders over what the planner computed: minutes, targets and gains against expected finds. No number is made here.
"use strict";
(function () {
  const s = window.stimsynth, make = s.make, draw = s.draw;
  // The place of `value` in a sorted list, or the nearest.
  function nearest(list, value) { let best = 0; list.forEach(function (v, i) { if (Math.abs(v - value) < Math.abs(list[best] - value)) best = i; }); return best; }
  // What the grid says at one place: the only numbers of this view.
  s.planned = function (data, n, m, g) {
    const grid = data.grid, found = {}, true_ = {};
    for (const objective of Object.keys(grid.found)) { found[objective] = grid.found[objective][n][m][g]; true_[objective] = grid.true[objective][n][g]; }
    return { shown: grid.shown[n][m], presentations: grid.presentations[m], found: found, true: true_ };
  };
  function gainWords(data, objective, factor) {
    const gain = data.gains[objective] * factor, unit = data.gain_units[objective];
    return data.labels[objective] + " " + (unit === "fraction" ? "+" + (100 * gain).toFixed(0) + " %" : s.signed(gain) + " " + unit);
  }
  s.views.planner = function (root, data, context) {
    if (s.nothing(root, data)) return;
    if (data.ask) {
      root.append(make("p", { class: "empty", text: data.ask }), context.frozen ? make("p", { class: "empty" }, "Try: ", make("code", { text: "stimsynth page --plan" })) : make("button", { type: "button", onclick: function () { root.replaceChildren(make("p", { role: "status", text: "the plan is being computed \u2026" })); context.go("planner", { compute: "yes" }); } }, "compute the plan"));
      return;
    }
    const grid = data.grid, c = data.configured, at = { n: nearest(grid.targets, c.targets), m: nearest(grid.minutes, c.minutes), g: nearest(grid.factors, 1) };
    const finds = make("div", { class: "finds", "aria-live": "polite" }), plot = make("div"), told = make("p");
    function slider(name, list, key, words) {
      const out = make("output"), input = make("input", { type: "range", min: "0", max: String(list.length - 1), step: "1", value: String(at[key]), "aria-label": name });
      function say() { out.textContent = words(list[at[key]]); input.setAttribute("aria-valuetext", out.textContent); }
      input.addEventListener("input", function () { at[key] = Number(input.value); say(); show(); });
      say();
      return [make("span", { text: name }), input, out];
    }
    root.append(make("h3", { text: "Round " + data.round }), make("div", { class: "sliders" },
      slider("minutes", grid.minutes, "m", function (v) { return s.number(v, v < 40 ? 1 : 0) + " minutes"; }), slider("targets", grid.targets, "n", function (v) { return v + " of " + grid.sites.length + " sites"; }),
      slider("expected gain", grid.factors, "g", function (v) { return Object.keys(grid.found).map(function (o) { return gainWords(data, o, v); }).join(", ") + (v === 1 ? " (as the planner expects)" : ""); })), told, finds, plot);
    if (!data.overhead) root.append(make("p", { class: "note", text: "The time is that of images and gaps alone: fixation, reward and pauses are overhead and pause_s of [protocol]." }));
    const by = c.by_hand ? "as project.toml states it by hand" : "as the planner divides it";
    root.append(make("h3", { text: "The configured round, " + by }), make("p", { text: s.number(c.minutes, 1) + " minutes, " + c.presentations + " presentations, " + c.targets + " sites, " + (c.repeats[0] === c.repeats[1] ? c.repeats[0] : c.repeats[0] + " to " + c.repeats[1]) + " repeats of a controller: expected to find " +
      Object.keys(c.found).map(function (o) { return s.number(c.found[o], 1) + " of " + s.number(c.true[o], 1) + " true controls (" + data.labels[o] + ")"; }).join(", ") + "." }));
    for (const one of data.notes) root.append(make("p", { class: "note", text: one }));
    root.append(make("details", null, make("summary", { text: "the sites in the order in which they are taken" }), make("p", { class: "small", text: grid.sites.join(", ") })));
    s.note(root, data.note);

    function show() {
      const here = s.planned(data, at.n, at.m, at.g);
      told.textContent = here.presentations + " presentations; " + (here.shown ? here.shown + " of every controller and of its reference." : "too few for any test to reach alpha.");
      finds.replaceChildren.apply(finds, Object.keys(here.found).map(function (o) {
        return make("div", { class: "find" }, make("span", { text: data.labels[o] + ", expected to be found" }), make("b", { text: s.number(here.found[o], 1) }), make("span", { text: "of " + s.number(here.true[o], 1) + " true controls at " + grid.targets[at.n] + " sites" }));
      }));
      const W = 760, H = 260, L = 48, R = 16, T = 12, B = 40, high = grid.targets[at.n], low = grid.minutes[0], last = grid.minutes[grid.minutes.length - 1];
      const x = function (v) { return L + (W - L - R) * (v - low) / (last - low || 1); }, y = function (v) { return T + (H - T - B) * (1 - v / (high || 1)); };
      const svg = draw("svg", { viewBox: "0 0 " + W + " " + H, class: "plot", role: "img", "aria-label": "expected finds against minutes, for the chosen targets and gain" });
      for (const v of s.ticks(0, high, 5)) svg.append(draw("line", { x1: L, x2: W - R, y1: y(v), y2: y(v), class: "rule" }), draw("text", { x: L - 6, y: y(v) + 4, "text-anchor": "end" }, s.tick(v)));
      for (const v of s.ticks(low, last, 8)) svg.append(draw("text", { x: x(v), y: H - B + 16, "text-anchor": "middle" }, s.tick(v)));
      svg.append(draw("text", { x: (L + W - R) / 2, y: H - 6, "text-anchor": "middle" }, "minutes"), draw("text", { x: 12, y: H / 2, transform: "rotate(-90 12 " + H / 2 + ")", "text-anchor": "middle" }, "expected finds"));
      Object.keys(grid.found).forEach(function (o, i) {
        const colour = s.colours[i % s.colours.length], curve = grid.minutes.map(function (v, m) { return x(v).toFixed(1) + " " + y(grid.found[o][at.n][m][at.g]).toFixed(1); });
        svg.append(draw("path", { d: "M" + curve.join("L"), fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": i % 2 ? "6 3" : null }), draw("circle", { cx: x(grid.minutes[at.m]), cy: y(here.found[o]), r: 5, fill: colour }),
          draw("text", { x: W - R - 4, y: y(grid.found[o][at.n][grid.minutes.length - 1][at.g]) - 7, "text-anchor": "end" }, data.labels[o]));
      });
      plot.replaceChildren(svg);
    }
    show();
  };
}());
