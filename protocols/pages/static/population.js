// Images x sites as one canvas: sorted by rows and columns, read by pointer and by arrow keys.
"use strict";
(function () {
  const s = window.stimsynth, make = s.make;
  const MOST = 4, UNKNOWN = [225, 225, 225];
  function mean(values) { let sum = 0, n = 0; for (const v of values) if (v !== null) { sum += v; n += 1; } return n ? sum / n : null; }
  function order(count, value) {
    const keys = Array.from({ length: count }, function (_, i) { return value(i); });
    return keys.map(function (_, i) { return i; }).sort(function (a, b) {
      const p = keys[a], q = keys[b];
      if (p === null || q === null) return (p === null ? 1 : 0) - (q === null ? 1 : 0) || a - b;
      return (typeof p === "number" ? q - p : p.localeCompare(q, undefined, { numeric: true })) || a - b;
    });
  }
  s.views.population = function (root, data, context) {
    if (s.nothing(root, data)) return;
    for (const round of data.rounds) root.append(make("p", { class: "note", text: round.text }));
    const query = context.query || {};
    if (!context.frozen) root.append(make("div", { class: "tools" }, s.choice("Responses", [["measured", "measured"], ["predicted", "predicted, as sealed at export"]], data.show, function (v) { context.go("population", Object.assign({}, query, { show: v })); })));
    if (!data.images.length) { root.append(make("p", { class: "empty", text: data.few })); return; }
    const kinds = Array.from(new Set(data.images.map(function (i) { return i.kind; }))), rounds = Array.from(new Set(data.images.map(function (i) { return i.round; })));
    const state = { kind: "", round: "", rows: "given", columns: "given", site: data.sites[0], image: 0 };
    let rows = [], columns = [], at = [0, 0], size = [8, 8];
    const canvas = make("canvas", { class: "matrix", tabindex: "0", role: "application", "aria-label": "responses of " + data.sites.length + " sites to " + data.images.length + " images; arrow keys move, Enter opens the site, S sorts the images by this site, I the sites by this image" });
    const told = make("div", { class: "beside" }), said = make("p", { class: "small", role: "status" }), bar = make("canvas", { class: "legendbar", width: 200, height: 12, role: "img", "aria-label": "colours from -2 to " + MOST + " SDs" });
    const cross = make("canvas", { class: "cross", "aria-hidden": "true" }), stack = make("div", { class: "stack" }, canvas, cross), bySite = make("span", { class: "small" });
    function list(options) { return options.map(function (o) { return [o, o]; }); }
    const kindChoice = s.choice("Images", [["", "all"]].concat(list(kinds)), "", function (v) { state.kind = v; arrange(); });
    const roundChoice = s.choice("Round", [["", "all"]].concat(rounds.map(function (r) { return [String(r), r ? String(r) : "baseline"]; })), "", function (v) { state.round = v; arrange(); });
    const rowChoice = s.choice("Sort images", [["given", "as shown"], ["mean", "by mean response"], ["site", "by one site"], ["target", "by target"], ["name", "by name"]], "given", function (v) { state.rows = v; arrange(); });
    const columnChoice = s.choice("Sort sites", [["given", "as recorded"], ["mean", "by mean response"], ["image", "by one image"], ["name", "by name"]], "given", function (v) { state.columns = v; arrange(); });
    root.append(make("div", { class: "tools" }, kindChoice, roundChoice, rowChoice, columnChoice, bySite), make("p", { class: "small" }, "\u22122 ", bar, " +" + MOST + " SD; grey: not known"), make("div", { class: "tuning" }, stack, told), said);
    s.note(root, data.note);
    (function () { const c = bar.getContext("2d"); for (let i = 0; i < 200; i += 1) { c.fillStyle = "rgb(" + s.scale(i / 199).join(",") + ")"; c.fillRect(i, 0, 1, 12); } }());

    function arrange() {
      const kept = data.images.map(function (_, i) { return i; }).filter(function (i) { return (!state.kind || data.images[i].kind === state.kind) && (!state.round || String(data.images[i].round) === state.round); });
      const column = data.sites.indexOf(state.site);
      const by = { given: null, mean: function (i) { return mean(data.values[i]); }, site: function (i) { return data.values[i][column]; }, target: function (i) { return data.images[i].site || null; }, name: function (i) { return data.images[i].name; } }[state.rows];
      rows = by ? order(kept.length, function (k) { return by(kept[k]); }).map(function (k) { return kept[k]; }) : kept;
      const of = { given: null, mean: function (u) { return mean(rows.map(function (i) { return data.values[i][u]; })); }, image: function (u) { return (data.values[state.image] || [])[u]; }, name: function (u) { return data.sites[u]; } }[state.columns];
      columns = of ? order(data.sites.length, of) : data.sites.map(function (_, u) { return u; });
      bySite.textContent = (state.rows === "site" ? "images by " + state.site : "") + (state.columns === "image" ? " sites by " + data.images[state.image].name : "");
      at = [Math.min(at[0], rows.length - 1), Math.min(at[1], columns.length - 1)];
      paint();
    }
    // One pixel per cell, enlarged by whole numbers by the browser: sorting a million cells is one copy.
    function paint() {
      const height = Math.max(1, rows.length), width = columns.length, image = new ImageData(width, height);
      for (let r = 0; r < rows.length; r += 1) {
        const values = data.values[rows[r]];
        for (let c = 0; c < width; c += 1) {
          const v = values[columns[c]], rgb = v === null ? UNKNOWN : s.scale((v + 2) / (MOST + 2)), p = 4 * (r * width + c);
          image.data[p] = rgb[0]; image.data[p + 1] = rgb[1]; image.data[p + 2] = rgb[2]; image.data[p + 3] = 255;
        }
      }
      canvas.width = width; canvas.height = height;
      canvas.getContext("2d").putImageData(image, 0, 0);
      size = [Math.max(2, Math.min(16, Math.floor(900 / width))), Math.max(1, Math.min(12, Math.floor(700 / height)))];
      for (const one of [canvas, cross]) { one.style.width = size[0] * width + "px"; one.style.height = size[1] * height + "px"; }
      cross.width = size[0] * width; cross.height = size[1] * height;
      move(at[0], at[1], true);
    }
    function move(r, c, quiet) {
      if (!rows.length) return;
      at = [Math.min(rows.length - 1, Math.max(0, r)), Math.min(columns.length - 1, Math.max(0, c))];
      const image = data.images[rows[at[0]]], site = data.sites[columns[at[1]]], v = data.values[rows[at[0]]][columns[at[1]]];
      const words = site + ", " + image.kind + " " + image.name + (image.site ? " (for " + image.site + ")" : "") + ": " + (v === null ? "not known" : s.signed(v) + " SD");
      if (!quiet) said.textContent = words;
      const pen = cross.getContext("2d");
      pen.clearRect(0, 0, cross.width, cross.height);
      pen.strokeStyle = "#d55e00"; pen.lineWidth = 1;
      pen.strokeRect(0.5, at[0] * size[1] - 0.5, cross.width - 1, size[1] + 1);
      pen.strokeRect(at[1] * size[0] - 0.5, 0.5, size[0] + 1, cross.height - 1);
      told.replaceChildren(s.picture(context, image.image, image.kind + " " + image.name, { class: "thumb" }), make("div", { class: "small" }, make("b", { text: site }), make("br"), image.kind + " " + image.name, image.site ? [make("br"), "for " + image.site] : null, make("br"), v === null ? "not known" : s.signed(v) + " SD"));
    }
    function cell(event) { const box = canvas.getBoundingClientRect(); return [Math.floor((event.clientY - box.top) / box.height * rows.length), Math.floor((event.clientX - box.left) / box.width * columns.length)]; }
    canvas.addEventListener("pointermove", function (event) { const [r, c] = cell(event); if (r !== at[0] || c !== at[1]) move(r, c); });
    canvas.addEventListener("click", function (event) { const [r, c] = cell(event); move(r, c); canvas.focus(); });
    canvas.addEventListener("dblclick", function () { context.go("site", { site: data.sites[columns[at[1]]] }); });
    canvas.addEventListener("keydown", function (event) {
      const by = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1], PageDown: [20, 0], PageUp: [-20, 0] }[event.key];
      if (by) move(at[0] + by[0], at[1] + by[1]);
      else if (event.key === "Home") move(0, 0);
      else if (event.key === "End") move(rows.length - 1, columns.length - 1);
      else if (event.key === "Enter") context.go("site", { site: data.sites[columns[at[1]]] });
      else if (event.key === "s" || event.key === "S") { state.site = data.sites[columns[at[1]]]; state.rows = "site"; rowChoice.querySelector("select").value = "site"; arrange(); }
      else if (event.key === "i" || event.key === "I") { state.image = rows[at[0]]; state.columns = "image"; columnChoice.querySelector("select").value = "image"; arrange(); }
      else return;
      event.preventDefault();
    });
    arrange();
  };
}());
