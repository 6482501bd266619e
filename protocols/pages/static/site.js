// The table of sites, and one site: field, tuning with thumbnails, gains and drift over the rounds.
"use strict";
(function () {
  const s = window.stimsynth, make = s.make, draw = s.draw;
  const WIDTH = 760, HEIGHT = 240, LEFT = 48, RIGHT = 12, TOP = 10, BOTTOM = 30;
  const MARKS = ["controller", "controller of another seed", "graded"];
  const KINDS = MARKS.concat(["contrast matched", "natural raised", "predicted natural", "phase scrambled", "evolved"]);

  function axes(low, high, name, across) {
    const y = function (v) { return TOP + (HEIGHT - TOP - BOTTOM) * (high - v) / ((high - low) || 1); };
    const group = draw("g", { class: "axes" });
    for (const v of s.ticks(low, high, 5)) {
      group.append(draw("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(v), y2: y(v), class: v === 0 ? "zero" : "rule" }));
      group.append(draw("text", { x: LEFT - 6, y: y(v) + 4, "text-anchor": "end" }, s.tick(v)));
    }
    group.append(draw("text", { x: 12, y: HEIGHT / 2, transform: "rotate(-90 12 " + HEIGHT / 2 + ")", "text-anchor": "middle" }, name));
    group.append(draw("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, across));
    return [group, y];
  }
  function ends(values, errors) {
    const found = [];
    values.forEach(function (v, i) { if (s.known(v)) { const e = s.known(errors[i]) ? errors[i] : 0; found.push(v - e, v + e); } });
    const low = Math.min.apply(null, found.concat(0)), high = Math.max.apply(null, found.concat(0));
    return [low, high + 0.03 * (high - low || 1)];
  }
  // One colour per kind in every recording; arms of later versions share the last.
  const OF_KIND = ["#0072B2", "#56B4E9", "#000000", "#D55E00", "#CC79A7", "#009E73", "#E69F00", "#7f3c8d"];
  function colourOf(kind) { const i = KINDS.indexOf(kind); return OF_KIND[i < 0 ? OF_KIND.length - 1 : i]; }

  // Sorted responses of one recording. The plot is a slider: arrows walk through the photographs, the pointer too.
  function tuning(t, unit, context, where) {
    const n = t.mean.length, all = t.mean.concat(t.marks.map(function (m) { return m.mean; })), errors = t.error.concat(t.marks.map(function (m) { return m.error; }));
    const [low, high] = ends(all, errors), [frame, y] = axes(low, high, "response (" + unit + ")", "photographs, strongest first");
    const x = function (i) { return LEFT + (WIDTH - LEFT - RIGHT) * (i + 0.5) / Math.max(1, n); };
    const kinds = Array.from(new Set(t.marks.map(function (m) { return m.kind; }))).sort(function (a, b) { return KINDS.indexOf(a) - KINDS.indexOf(b); });
    let bars = "", dots = "";
    for (let i = 0; i < n; i += 1) {
      if (s.known(t.error[i])) bars += "M" + x(i).toFixed(1) + " " + y(t.mean[i] - t.error[i]).toFixed(1) + "V" + y(t.mean[i] + t.error[i]).toFixed(1);
      dots += "M" + (x(i) - 2).toFixed(1) + " " + y(t.mean[i]).toFixed(1) + "h4";
    }
    const svg = draw("svg", { viewBox: "0 0 " + WIDTH + " " + HEIGHT, class: "plot", role: "img", "aria-label": "sorted responses of " + where + ", " + t.title }, frame,
      draw("path", { d: bars, class: "error" }), draw("path", { d: dots, class: "mean" }));
    for (const i of t.own) svg.append(draw("circle", { cx: x(i), cy: y(t.mean[i]), r: 4.5, class: "own" }));
    t.marks.forEach(function (m) {
      if (!s.known(m.mean)) return;
      const above = t.mean.filter(function (v) { return v > m.mean; }).length, at = x(above - 0.5), colour = colourOf(m.kind);
      if (s.known(m.error)) svg.append(draw("line", { x1: at, x2: at, y1: y(m.mean - m.error), y2: y(m.mean + m.error), stroke: colour }));
      const mark = MARKS.includes(m.kind) ? draw("path", { d: "M" + at + " " + (y(m.mean) - 6) + "l6 6l-6 6l-6 -6z", fill: colour }) : draw("path", { d: "M" + at + " " + (y(m.mean) - 6) + "l6 10h-12z", fill: colour });
      mark.append(draw("title", null, m.kind + ", " + m.objective + ": " + s.number(m.mean)));
      mark.addEventListener("pointerenter", function () { told(m.image, m.kind + ", " + m.objective + " (" + m.name + ")", m.mean, m.error, m.verdict); });
      svg.append(mark);
    });
    const cursor = draw("line", { y1: TOP, y2: HEIGHT - BOTTOM, class: "cursor", x1: -9, x2: -9 });
    svg.append(cursor);
    const beside = make("div", { class: "beside" });
    const slider = make("div", { class: "slider", tabindex: "0", role: "slider", "aria-label": "photographs of " + t.title + ", strongest first", "aria-valuemin": 1, "aria-valuemax": n, "aria-valuenow": 1 }, svg);
    let at = 0;
    function told(image, name, mean, error, verdict) {
      const words = s.number(mean) + (s.known(error) ? " \u00b1 " + s.number(error) + " (standard error)" : "");
      beside.replaceChildren(s.picture(context, image, name, { class: "thumb" }), make("div", { class: "small" }, make("b", { text: name }), make("br"), words, verdict ? [make("br"), verdict] : null));
    }
    function move(to) {
      at = Math.min(n - 1, Math.max(0, to));
      if (n < 1) return;
      cursor.setAttribute("x1", x(at)); cursor.setAttribute("x2", x(at));
      slider.setAttribute("aria-valuenow", String(at + 1));
      slider.setAttribute("aria-valuetext", (at + 1) + ": " + t.names[at] + ", " + s.number(t.mean[at]));
      told(t.images[at], (at + 1) + ". " + t.names[at], t.mean[at], t.error[at]);
    }
    slider.addEventListener("keydown", function (event) {
      const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
      const to = by !== undefined ? at + by : event.key === "Home" ? 0 : event.key === "End" ? n - 1 : null;
      if (to !== null) { event.preventDefault(); move(to); }
    });
    svg.addEventListener("pointermove", function (event) {
      if (event.target.tagName === "path" && event.target.getAttribute("fill")) return;
      const box = svg.getBoundingClientRect(), px = (event.clientX - box.left) / box.width * WIDTH;
      move(Math.round((px - LEFT) / (WIDTH - LEFT - RIGHT) * n - 0.5));
    });
    move(0);
    const legend = kinds.length ? make("p", { class: "legend" }, kinds.map(function (k) {
      return make("span", null, draw("svg", { viewBox: "0 0 12 12", class: "swatch", "aria-hidden": "true" }, draw("rect", { width: 12, height: 12, fill: colourOf(k) })), k);
    }), t.own.length ? make("span", null, draw("svg", { viewBox: "0 0 12 12", class: "swatch", "aria-hidden": "true" }, draw("circle", { cx: 6, cy: 6, r: 4.5, class: "own" })), "re-shown reference of this site") : null) : null;
    const listed = t.marks.length ? make("details", null, make("summary", { text: "synthesised images and arms as a table" }), s.table({
      columns: [{ key: "kind", title: "image", digits: null }, { key: "objective", title: "objective", digits: null }, { key: "predicted", title: "predicted", digits: 2 }, { key: "mean", title: "measured", digits: 2 }, { key: "error", title: "standard error", digits: 2 }, { key: "verdict", title: "verdict", digits: null }],
      rows: t.marks })) : null;
    const part = t.count > n ? " (" + n + " of " + t.count + " photographs: the strongest, and an even choice of the rest)" : "";
    return make("section", null, make("h3", { text: "Sorted responses, " + t.title + part }), make("div", { class: "tuning" }, slider, beside), legend, listed);
  }

  function field(data) {
    const d = data.display;
    if (!data.circle) return make("p", { class: "small", text: "no receptive field is drawn" + (data.no_field ? ": " + data.no_field : "") });
    const [x, y, r] = data.circle;
    return make("figure", { class: "field" }, draw("svg", { viewBox: "0 0 " + d.width_px + " " + d.height_px, role: "img", "aria-label": "model receptive field, 1 SD, in the image" },
      draw("rect", { width: d.width_px, height: d.height_px, class: "screen" }), draw("path", { d: "M" + d.width_px / 2 + " 0V" + d.height_px + "M0 " + d.height_px / 2 + "H" + d.width_px, class: "cross" }),
      draw("circle", { cx: x, cy: y, r: r, class: "circle" })), make("figcaption", { text: "model receptive field (1 SD) in the image, " + s.number(d.size_deg, 1) + " deg wide" }));
  }

  // Points with intervals over rounds; series: [{name, points: [{x, y, low, high}]}].
  s.overRounds = function (series, name, words, options) {
    const points = series.flatMap(function (e) { return e.points; }).filter(function (p) { return s.known(p.y); });
    if (!points.length) return make("p", { class: "small", text: "nothing is measured yet" });
    const values = points.flatMap(function (p) { return [p.y, p.low, p.high].filter(s.known); });
    const low = options && s.known(options.low) ? options.low : Math.min.apply(null, values.concat(0)), high = options && s.known(options.high) ? options.high : Math.max.apply(null, values.concat(0)) * 1.05 || 1;
    const [frame, y] = axes(low, high, name, options && options.across || "round");
    const rounds = Array.from(new Set(points.map(function (p) { return p.x; }))).sort(function (a, b) { return a - b; });
    const x = function (r) { return LEFT + (WIDTH - LEFT - RIGHT) * (rounds.indexOf(r) + 0.5) / rounds.length; };
    const svg = draw("svg", { viewBox: "0 0 " + WIDTH + " " + HEIGHT, class: "plot", role: "img", "aria-label": words }, frame);
    const every = Math.ceil(rounds.length / 20);
    for (const r of rounds.filter(function (_, k) { return k % every === 0; })) svg.append(draw("text", { x: x(r), y: HEIGHT - 16, "text-anchor": "middle" }, String(r)));
    series.forEach(function (one, i) {
      const colour = s.colours[i % s.colours.length], shift = (i - (series.length - 1) / 2) * 12;
      const there = one.points.filter(function (p) { return s.known(p.y); });
      if (there.length > 1) svg.append(draw("path", { d: "M" + there.map(function (p) { return x(p.x) + shift + " " + y(p.y); }).join("L"), fill: "none", stroke: colour, "stroke-width": 1.5, "stroke-dasharray": i % 2 ? "5 3" : null }));
      for (const p of there) {
        const at = x(p.x) + shift;
        if (s.known(p.low) && s.known(p.high)) svg.append(draw("line", { x1: at, x2: at, y1: y(Math.max(p.low, low)), y2: y(Math.min(p.high, high)), stroke: colour, "stroke-width": 2 }));
        svg.append(draw(i % 2 ? "rect" : "circle", i % 2 ? { x: at - 4, y: y(p.y) - 4, width: 8, height: 8, fill: colour } : { cx: at, cy: y(p.y), r: 5, fill: colour }, draw("title", null, one.name + ", " + p.x + ": " + s.number(p.y) + " " + s.interval(p.low, p.high))));
      }
    });
    const legend = make("p", { class: "legend" }, series.map(function (one, i) {
      const colour = s.colours[i % s.colours.length];
      return make("span", null, draw("svg", { viewBox: "0 0 12 12", class: "swatch", "aria-hidden": "true" }, i % 2 ? draw("rect", { x: 1, y: 1, width: 10, height: 10, fill: colour }) : draw("circle", { cx: 6, cy: 6, r: 5, fill: colour })), one.name);
    }));
    return make("div", null, svg, legend);
  };

  function gains(data) {
    if (!data.gains.length) return [make("h3", { text: "Gains over the rounds" }), make("p", { class: "small" }, "No round with a controller for this site is evaluated yet. Try: ", make("code", { text: "stimsynth run" }))];
    const units = Array.from(new Set(data.gains.filter(function (g) { return s.known(g.gain); }).map(function (g) { return g.unit; })));
    const drawings = units.map(function (unit) {
      const mine = data.gains.filter(function (g) { return g.unit === unit; }), names = Array.from(new Set(mine.map(function (g) { return g.objective; }))), by = unit === "fraction" ? 100 : 1;
      return s.overRounds(names.map(function (name) {
        return { name: name, points: mine.filter(function (g) { return g.objective === name; }).map(function (g) { return { x: g.round, y: s.known(g.gain) ? by * g.gain : null, low: s.known(g.low) ? by * g.low : null, high: s.known(g.high) ? by * g.high : null }; }) };
      }), "gain (" + (unit === "fraction" ? "% of the evoked response" : unit) + ")", "gain of the confirmatory controllers of " + data.site + " over the rounds, with 95 % intervals");
    });
    const rows = data.gains.map(function (g) { return Object.assign({}, g, { told: s.gain(g) }); });
    return [make("h3", { text: "Gains over the rounds" }), drawings, make("div", { class: "scroll" }, s.table({ columns: [
      { key: "round", title: "round", digits: 0 }, { key: "session", title: "session", digits: null }, { key: "objective", title: "objective", digits: null }, { key: "verdict", title: "verdict", digits: null }, { key: "reason", title: "reason", digits: null },
      { key: "p", title: "p", digits: 4 }, { key: "predicted", title: "predicted", digits: 2 }, { key: "measured", title: "measured", digits: 2 }, { key: "reference", title: "reference", digits: 2 }, { key: "told", title: "gain [95 %]", digits: null }], rows: rows }))];
  }
  function days(data) {
    if (!data.days.length) return null;
    const rows = data.days.map(function (d) { return Object.assign({}, d, { ends: s.interval(d.low, d.high) || "-", drift: s.known(d.within) ? s.signed(d.within, 1) + " " + d.within_unit + (d.within_listed ? ", listed" : "") : "-" }); });
    return [make("h3", { text: "Drift and identity over the days" }), make("div", { class: "scroll" }, s.table({ columns: [
      { key: "round", title: "round", digits: 0 }, { key: "session", title: "session", digits: null }, { key: "gain", title: "gain against the baseline", digits: 2 }, { key: "ends", title: "95 %", digits: null }, { key: "outcome", title: "identity", digits: null },
      { key: "reason", title: "reason", digits: null }, { key: "r_nc", title: "r with the baseline, noise-corrected", digits: 2 }, { key: "drift", title: "drift within the recording", digits: null }], rows: rows }))];
  }

  s.views.site = function (root, data, context) {
    if (s.nothing(root, data)) return;
    const page = make("div"), all = make("details", { open: !(context.query || {}).site }, make("summary", { text: "All " + data.table.rows.length + " sites" }));
    const names = data.table.rows.map(function (r) { return r.site; });
    function show(name) { context.go("site", { site: name }); }
    all.append(make("div", { class: "scroll tall" }, s.table(data.table, { key: "site", chosen: data.site, open: function (row) { show(row.site); } })));
    const place = names.indexOf(data.site), select = s.choice("Site", names.map(function (n) { return [n, n]; }), data.site, show);
    function step(by) { show(names[(place + by + names.length) % names.length]); }
    const copy = make("button", { type: "button", onclick: function () {
      const link = make("a", { href: URL.createObjectURL(new Blob([s.csv(data.table)], { type: "text/csv" })), download: "sites.csv" });
      link.click();
    } }, "save the table as CSV");
    const row = data.table.rows[place] || {}, facts = make("table", { class: "facts" }, make("tbody", null, data.table.columns.map(function (c) {
      const v = row[c.key];
      return make("tr", null, make("th", { scope: "row", title: c.hint || null, text: c.title }), make("td", { text: v === null || v === undefined || v === "" ? "-" : s.known(v) && c.digits !== null ? v.toFixed(c.digits) : String(v) }));
    })));
    const layers = Object.entries(data.layers).filter(function (e) { return s.known(e[1]); });
    const depth = layers.length ? make("section", null, make("h3", { text: "Layers: R2 in left-out folds" }), s.table({ columns: [{ key: "layer", title: "layer", digits: null }, { key: "r2", title: "R2", digits: 3 }], rows: layers.map(function (e) { return { layer: e[0], r2: e[1] }; }) })) : null;
    page.append(make("div", { class: "tools" }, select, make("button", { type: "button", onclick: function () { step(-1); } }, "\u2190 previous"), make("button", { type: "button", onclick: function () { step(1); } }, "next \u2192"),
      make("button", { type: "button", onclick: function () { context.go("gallery", { site: data.site }); } }, "its images"), copy));
    page.append(make("h3", { text: data.site }));
    page.append(make("div", { class: "two" }, make("div", null, facts, field(data), depth), make("div", null, data.tunings.map(function (t) { return tuning(t, data.unit, context, data.site); }), gains(data), days(data) || "")));
    root.append(all, page);
  };
}());
