// Images of the rounds: filter, enlarge, compare.
"use strict";
(function () {
  const s = window.stimsynth, make = s.make;
  const PAGE = 96;

  function pair(image, site, objective) {
    const fits = image.at.filter(function (a) { return (!site || a.site === site) && (!objective || a.objective === objective); });
    return fits[0] || image.at[0] || null;
  }
  function kind(image) { return image.role === "arm" ? "arm: " + image.arm.replaceAll("_", " ") : image.role; }
  function distinct(values) { return Array.from(new Set(values.filter(function (v) { return v !== "" && v !== null && v !== undefined; }))); }

  function rows(image, at, label) {
    const found = [["round", String(image.round)], ["what", kind(image) + (image.confirmatory ? ", confirmatory" : "")]];
    if (at) {
      found.push(["site", at.site], ["objective", label(at.objective)]);
      found.push(["predicted at the target", s.number(at.predicted) + (s.known(at.predicted_sd) ? " \u00b1 " + s.number(at.predicted_sd) + " (SD over members)" : "")]);
      if (s.known(at.z)) found.push(["predicted, in natural SDs", s.number(at.z) + (s.known(at.z_low) ? " " + s.interval(at.z_low, at.z_high) + " (95 %)" : "")], ["best photograph, in natural SDs", s.number(at.photograph_z) + " (measured)"]);
      found.push(["validator's prediction", s.number(at.validator)]);
      if ("measured" in at) found.push(["measured", s.number(at.measured) + " " + s.interval(at.low, at.high) + " (n " + at.trials + ")"]);
      if (at.verdict) {
        found.push(["verdict", at.verdict.verdict + (at.verdict.reason ? " (" + at.verdict.reason + ")" : "")]);
        found.push(["p", s.number(at.verdict.p, 4)], ["gain [95 %]", s.gain(at.verdict)]);
      }
    }
    if (image.seed !== null && image.seed !== undefined) found.push(["seed", String(image.seed)]);
    if (image.start) found.push(["started from", image.start]);
    if (image.source) found.push(["source", image.source]);
    if (s.known(image.distance)) found.push(["distance", s.number(image.distance) + (image.outside ? ", outside the fitted images" : "")]);
    for (const name of Object.keys(image.contrast || {})) {
      if (name.endsWith("_natural")) continue;
      const usual = image.contrast[name + "_natural"];
      if (name === "chroma" && !image.contrast.chroma && !usual) continue;  // all is grey
      const of = s.known(usual) ? " (95 % of the photographs: below " + s.number(usual, 3) + ")" : "";
      found.push([name === "luminance" ? "RMS contrast" : name === "local" ? "contrast in the field" : "chroma", s.number(image.contrast[name], 3) + of]);
    }
    if (s.known(image.clipped)) found.push(["black or white", s.percent(image.clipped) + " of the values"]);
    return found;
  }
  function flags(image) {
    const found = [];
    const word = image.decision;
    if (word) found.push({ veto: "vetoed", stop: "site stopped", approve: "approved" }[word.action] + " by " + word.who + ": " + word.reason);
    if (image.outside) found.push("outside the fitted images");
    for (const name of ["luminance", "chroma", "local"]) {
      const usual = (image.contrast || {})[name + "_natural"];
      if (s.known(usual) && image.contrast[name] > usual) found.push((name === "chroma" ? "chroma" : name + " contrast") + " above 95 % of the photographs");
    }
    if (image.clipped > 0.2) found.push(s.percent(image.clipped) + " black or white");
    return found;
  }
  function words(image, at) { return kind(image) + (at ? " for " + at.site : "") + ", round " + image.round + ", " + image.name; }

  function columns(chosen, context, state, label) {
    const site = state.site, objective = state.objective;
    const names = [], tables = chosen.map(function (image) { return new Map(rows(image, pair(image, site, objective), label)); });
    for (const table of tables) for (const name of table.keys()) if (!names.includes(name)) names.push(name);
    const head = make("tr", null, make("th", { scope: "col" }, ""), chosen.map(function (image) {
      return make("th", { scope: "col" }, s.picture(context, image.id, words(image, pair(image, site, objective)), { class: "large", full: true }), make("div", { text: image.name }));
    }));
    const body = names.map(function (name) {
      return make("tr", null, make("th", { scope: "row", text: name }), tables.map(function (table) { return make("td", { text: table.get(name) || "-" }); }));
    });
    return make("div", { class: "scroll" }, make("table", { class: "compare" }, make("thead", null, head), make("tbody", null, body)));
  }

  function decision(image, context, decided) {
    if (typeof context.decide !== "function" || image.role !== "controller") return null;
    const reason = make("input", { type: "text", maxlength: "200", "aria-label": "reason" });
    const told = make("span", { role: "status" });
    function button(word) {
      return make("button", { type: "button", onclick: function () {
        if (!reason.value.trim()) { told.textContent = "a reason is needed"; reason.focus(); return; }
        told.textContent = "\u2026";
        Promise.resolve(context.decide({ decision: word, image: image.id, name: image.name, round: image.round, at: image.at, seed: image.seed, reason: reason.value.trim() }))
          .then(function (answer) {
            told.textContent = answer && answer.text ? "recorded: " + answer.text : word + " is recorded";
            image.decision = answer && answer.decision ? answer.decision : { action: word, who: "", reason: reason.value.trim() };
            decided();
          })
          .catch(function (error) { told.textContent = String(error && error.message || error); });
      } }, word);
    }
    return make("div", { class: "tools" }, make("label", null, "reason ", reason), button("veto"), button("approve"), told);
  }

  s.views.gallery = function (root, data, context) {
    if (s.nothing(root, data)) return;
    for (const round of data.rounds) {
      if (!round.text) continue;
      const ask = round.hidden && !context.frozen && !context.blind ? make("button", { type: "button", onclick: function () { context.go("gallery", { unblind: String(round.round) }); } }, "show it all the same") : null;
      const how = round.hidden && context.blind ? make("span", null, "Where it must be: ", make("code", { text: "stimsynth serve --unblinded" }), ".") : null;
      root.append(make("p", { class: "note" }, round.text + " ", ask, how));
    }
    const query = context.query || {}, images = data.images;
    const label = function (name) { return data.objectives[name] || name; };
    const state = { round: query.round || "", kind: query.kind || "controller", objective: query.objective || "", site: query.site || "", seed: query.seed || "", best: false, sort: "", more: PAGE };
    const chosen = new Set(), grid = make("div", { class: "cards" }), count = make("span", { role: "status" });
    const sites = distinct(images.flatMap(function (i) { return i.at.map(function (a) { return a.site; }); })).sort();
    function options(values, text) { return [["", "all"]].concat(values.map(function (v) { return [String(v), text ? text(v) : String(v)]; })); }
    function setting(name) { return function (value) { state[name] = value; state.more = PAGE; show(); }; }
    const kinds = distinct(images.map(kind));
    if (!kinds.includes(state.kind)) state.kind = "";
    const compare = make("button", { type: "button", onclick: function () {
      const set = images.filter(function (i) { return chosen.has(i.id); });
      s.dialog(set.length + " images side by side", columns(set, context, state, label));
    } }, "compare");
    const clear = make("button", { type: "button", onclick: function () { chosen.clear(); show(); } }, "clear");
    const more = make("button", { type: "button", onclick: function () { state.more += PAGE; show(); } }, "show more");
    root.append(make("div", { class: "tools" },
      s.choice("Round", options(distinct(images.map(function (i) { return i.round; }))), state.round, setting("round")),
      s.choice("Images", options(kinds), state.kind, setting("kind")),
      s.choice("Objective", options(distinct(images.flatMap(function (i) { return i.at.map(function (a) { return a.objective; }); })), label), state.objective, setting("objective")),
      s.choice("Site", options(sites), state.site, setting("site")),
      s.choice("Seed", options(distinct(images.map(function (i) { return i.seed; })).sort(function (a, b) { return a - b; })), state.seed, setting("seed")),
      s.choice("Sort by", [["", "site"], ["predicted", "predicted response"], ["measured", "measured response"], ["gain", "gain"], ["distance", "distance"]], "", setting("sort")),
      s.check("confirmatory only", false, setting("best")), compare, clear, count), grid, more);
    s.note(root, data.note);

    function listed() {
      const found = images.filter(function (image) {
        return (!state.round || String(image.round) === state.round) && (!state.kind || kind(image) === state.kind) &&
          (!state.seed || String(image.seed) === state.seed) && (!state.best || image.confirmatory) &&
          ((!state.site && !state.objective) || image.at.some(function (a) { return (!state.site || a.site === state.site) && (!state.objective || a.objective === state.objective); }));
      });
      const value = function (image) {
        const at = pair(image, state.site, state.objective) || {};
        const known = state.sort === "distance" ? image.distance : state.sort === "gain" ? (at.verdict || {}).gain : at[state.sort];
        return s.known(known) ? known : -Infinity;
      };
      const name = function (image) { const at = pair(image, state.site, state.objective); return at ? at.site : "\uffff"; };
      return found.sort(state.sort ? function (a, b) { return value(b) - value(a); } : function (a, b) {
        return a.round - b.round || name(a).localeCompare(name(b)) || Number(b.confirmatory) - Number(a.confirmatory) || (a.seed || 0) - (b.seed || 0);
      });
    }
    function open(list, at) {
      let place = at;
      function step(by) { place = (place + by + list.length) % list.length; fill(); }
      const body = make("div");
      function fill() {
        const image = list[place], where = pair(image, state.site, state.objective);
        const reference = where && where.verdict && where.verdict.reference;
        const table = make("table", null, make("tbody", null, rows(image, where, label).map(function (r) { return make("tr", null, make("th", { scope: "row", text: r[0] }), make("td", { text: r[1] })); })));
        body.replaceChildren(
          make("div", { class: "tools" }, make("button", { type: "button", onclick: function () { step(-1); } }, "\u2190 previous"), make("button", { type: "button", onclick: function () { step(1); } }, "next \u2192"),
            make("span", { role: "status" }, (place + 1) + " of " + list.length + ": " + image.name)),
          make("div", { class: "zoom" }, make("figure", null, s.picture(context, image.id, words(image, where), { class: "huge", full: true }), make("figcaption", { text: words(image, where) })),
            reference ? make("figure", null, s.picture(context, reference, "its reference", { class: "huge", full: true }), make("figcaption", { text: "its reference: " + s.number(where.verdict.reference_response) })) : null, table),
          make("div", null, flags(image).map(function (f) { return make("span", { class: "flag", text: f }); })), decision(image, context, show) || "");
      }
      fill();
      s.dialog("Image", body, { ArrowLeft: function () { step(-1); }, ArrowRight: function () { step(1); } });
    }
    function card(image, list, place) {
      const at = pair(image, state.site, state.objective);
      const box = make("input", { type: "checkbox", checked: chosen.has(image.id), "aria-label": "compare " + image.name, onchange: function () { if (box.checked) chosen.add(image.id); else chosen.delete(image.id); told(list.length); } });
      const colour = at && at.verdict ? (at.verdict.verdict === "control" ? " yes" : at.verdict.verdict === "no control" ? " no" : "") : "";
      const out = image.decision && image.decision.action !== "approve";
      return make("article", { class: "card" + (image.confirmatory ? " best" : "") + (out ? " out" : "") },
        make("button", { type: "button", class: "open", onclick: function () { open(list, place); }, "aria-label": "enlarge " + words(image, at) }, s.picture(context, image.id, words(image, at))),
        make("div", { class: "under" }, box, make("b", { text: at ? at.site : image.name })),
        make("div", { class: "small" }, kind(image) + (at ? ", " + label(at.objective) : "") + (s.known(image.seed) ? ", seed " + image.seed : "")),
        at ? make("div", { class: "small" }, "predicted " + s.number(at.predicted)) : null,
        at && "measured" in at ? make("div", { class: "small" }, "measured " + s.number(at.measured) + " " + s.interval(at.low, at.high)) : null,
        at && at.verdict ? make("div", { class: "small verdict" + colour, text: at.verdict.verdict }) : null,
        flags(image).map(function (f) { return make("span", { class: "flag", text: f }); }));
    }
    function told(length) {
      count.textContent = length + " of " + images.length + " images" + (chosen.size ? ", " + chosen.size + " chosen" : "");
      compare.disabled = chosen.size < 2;
      clear.hidden = !chosen.size;
    }
    function show() {
      const list = listed();
      grid.replaceChildren.apply(grid, list.slice(0, state.more).map(function (image, i) { return card(image, list, i); }));
      more.hidden = list.length <= state.more;
      told(list.length);
    }
    show();
  };
}());
