// Sites on the array, coloured by any number of their table.
"use strict";
(function () {
  const s = window.stimsynth, make = s.make, draw = s.draw;
  // viridis at 9 places: perceptually uniform, readable for colour-blind people and in grey.
  const VIRIDIS = [[68, 1, 84], [71, 45, 123], [59, 82, 139], [44, 114, 142], [33, 145, 140], [40, 174, 128], [94, 201, 98], [173, 220, 48], [253, 231, 37]];
  s.scale = function (share) {
    const at = Math.min(1, Math.max(0, share)) * (VIRIDIS.length - 1), i = Math.min(VIRIDIS.length - 2, Math.floor(at)), f = at - i;
    return VIRIDIS[i].map(function (v, k) { return Math.round(v + f * (VIRIDIS[i + 1][k] - v)); });
  };
  function css(rgb) { return "rgb(" + rgb.join(",") + ")"; }
  function ink(rgb) { return 0.3 * rgb[0] + 0.59 * rgb[1] + 0.11 * rgb[2] > 140 ? "#000" : "#fff"; }

  s.views.array = function (root, data, context) {
    if (s.nothing(root, data)) return;
    const numbers = data.table.columns.filter(function (c) { return c.digits !== null && data.table.rows.some(function (r) { return s.known(r[c.key]); }); });
    const rows = new Map(data.table.rows.map(function (r) { return [r.site, r]; }));
    const first = ["held_out_r_nc", "reliability", "mean"].find(function (k) { return numbers.some(function (c) { return c.key === k; }); });
    let column = numbers.find(function (c) { return c.key === first; }) || numbers[0] || null;
    const plot = make("div", { class: "map" }), told = make("p", { role: "status", class: "small" });
    if (column) root.append(make("div", { class: "tools" }, s.choice("Colour", numbers.map(function (c) { return [c.key, c.title]; }), column.key, function (key) { column = numbers.find(function (c) { return c.key === key; }); show(); }), make("span", { class: "small" }, "Arrow keys walk over the sites, Enter opens one.")));
    root.append(make("p", { class: data.placed ? "sub" : "note", text: data.note }), plot, told);

    function words(site) {
      const row = rows.get(site) || {};
      return site + (column ? ": " + column.title + " " + (s.known(row[column.key]) ? row[column.key].toFixed(column.digits) : "not known") : "") + (row.use ? ", " + row.use : "");
    }
    // Sites at one place are drawn side by side, so that each can be seen and reached.
    function spread(sites) {
      const met = new Map();
      return sites.map(function (p) { const key = p.x + "/" + p.y, n = met.get(key) || 0; met.set(key, n + 1); return Object.assign({ turn: n }, p); });
    }
    function show() {
      const sites = spread(data.sites), xs = sites.map(function (p) { return p.x; }), ys = sites.map(function (p) { return p.y; });
      const left = Math.min.apply(null, xs), top = Math.max.apply(null, ys), wide = Math.max.apply(null, xs) - left, tall = top - Math.min.apply(null, ys);
      let near = Infinity;
      for (let i = 0; i < sites.length; i += 1) for (let j = 0; j < i; j += 1) { const d = Math.hypot(xs[i] - xs[j], ys[i] - ys[j]); if (d > 0 && d < near) near = d; }
      const unit = Number.isFinite(near) ? near : 1, long = Math.max(wide, tall, unit);
      const scale = Math.min(52 / unit, 820 / long, Math.max(52 / unit, 400 / long)), r = Math.max(5, Math.min(22, 0.42 * unit * scale)), pad = r + 8;
      const x = function (p) { return pad + (p.x - left) * scale + p.turn * 0.8 * r; }, y = function (p) { return pad + (top - p.y) * scale + p.turn * 0.8 * r; };
      const values = column ? data.table.rows.map(function (row) { return row[column.key]; }).filter(s.known) : [];
      const low = Math.min.apply(null, values), high = Math.max.apply(null, values), share = function (v) { return high > low ? (v - low) / (high - low) : 0.5; };
      const width = wide * scale + 2 * pad, height = tall * scale + 2 * pad;
      const svg = draw("svg", { viewBox: "0 0 " + width + " " + height, width: width, height: height, class: "array", role: "group", "aria-label": "map of " + sites.length + " sites" });
      const nodes = sites.map(function (p, i) {
        const value = column ? (rows.get(p.site) || {})[column.key] : null, rgb = s.known(value) ? s.scale(share(value)) : null;
        const node = draw("g", { tabindex: i ? "-1" : "0", role: "button", "aria-label": words(p.site), class: "site" },
          draw("circle", { cx: x(p), cy: y(p), r: r, fill: rgb ? css(rgb) : "#fff", stroke: rgb ? "#333" : "#999", "stroke-dasharray": rgb ? null : "3 2" }), draw("title", null, words(p.site)));
        if (r >= 12) node.append(draw("text", { x: x(p), y: y(p) + 3.5, "text-anchor": "middle", class: rgb && ink(rgb) === "#fff" ? "light" : "dark" }, s.known(value) ? (Math.abs(value) >= 100 ? value.toFixed(0) : Number(value.toPrecision(2)).toString()) : "?"));
        node.addEventListener("click", function () { context.go("site", { site: p.site }); });
        node.addEventListener("focus", function () { told.textContent = words(p.site); });
        node.addEventListener("pointerenter", function () { told.textContent = words(p.site); });
        svg.append(node);
        return node;
      });
      svg.addEventListener("keydown", function (event) {
        const at = nodes.indexOf(document.activeElement), turn = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
        if (at < 0) return;
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); context.go("site", { site: sites[at].site }); return; }
        if (!turn) return;
        event.preventDefault();
        let best = -1, least = Infinity;
        sites.forEach(function (p, i) {
          const dx = x(p) - x(sites[at]), dy = y(p) - y(sites[at]), along = dx * turn[0] + dy * turn[1], off = Math.abs(dx * turn[1]) + Math.abs(dy * turn[0]);
          if (i !== at && along > 0.5 && along + 2 * off < least) { least = along + 2 * off; best = i; }
        });
        if (best < 0) return;
        nodes[at].setAttribute("tabindex", "-1"); nodes[best].setAttribute("tabindex", "0"); nodes[best].focus();
      });
      const bar = draw("svg", { viewBox: "0 0 340 44", class: "bar", role: "img", "aria-label": column ? "colours from " + s.number(low, column.digits) + " to " + s.number(high, column.digits) : "no numbers" });
      for (let i = 0; i < 60; i += 1) bar.append(draw("rect", { x: 20 + i * 5, y: 16, width: 5.5, height: 12, fill: css(s.scale(i / 59)) }));
      if (values.length) {
        bar.append(draw("text", { x: 20, y: 11 }, column.title));
        bar.append(draw("text", { x: 20, y: 41, "text-anchor": "middle" }, s.number(low, column.digits)), draw("text", { x: 320, y: 41, "text-anchor": "middle" }, s.number(high, column.digits)));
      }
      const unknown = data.sites.length - values.length;
      plot.replaceChildren(column ? bar : "", svg, unknown && column ? make("p", { class: "small", text: unknown + " sites without this number are drawn empty" }) : "");
    }
    show();
  };
}());
