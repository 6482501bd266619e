// The rounds: accuracy of the encoder and shares of controlled sites.
"use strict";
(function () {
  const s = window.stimsynth, make = s.make;
  s.views.learning = function (root, data, context) {
    if (s.nothing(root, data)) return;
    function line(name, key) { return { name: name, points: data.entries.map(function (e) { return { x: e.round, y: e[key], low: e[key + "_low"], high: e[key + "_high"] }; }) }; }
    if (data.can && !data.same && !context.frozen) root.append(make("div", { class: "tools" }, make("button", { type: "button", onclick: function () { context.go("learning", { same: "yes" }); } }, "score every encoder on the same photographs (opens the networks, some seconds)")));
    if (data.why) root.append(make("p", { class: "note", text: data.why }));
    root.append(make("h3", { text: "Accuracy of the encoder" }));
    const lines = [line("held-out photographs, noise-corrected r", "natural"), line("controllers, prequential r2", "prequential")];
    if (data.same) lines.push(line("controllers after the refit, r2 (not prequential)", "after"));
    root.append(s.overRounds(lines, "accuracy", "accuracy of the encoder over the rounds, with 95 % intervals", { low: 0 }));
    root.append(make("h3", { text: "Sites controlled" }));
    if (!data.success.length) root.append(make("p", { class: "small" }, "No round is evaluated yet. Try: ", make("code", { text: "stimsynth run" })));
    else {
      const names = Array.from(new Set(data.success.map(function (h) { return h.label; })));
      root.append(s.overRounds(names.map(function (name) {
        return { name: name, points: data.success.filter(function (h) { return h.label === name; }).map(function (h) { return { x: h.round, y: h.tested ? 100 * h.successes / h.tested : null, low: 100 * h.low, high: 100 * h.high }; }) };
      }), "% of the tested sites", "share of controlled sites over the rounds, with Wilson 95 % intervals", { low: 0, high: 104 }));
      root.append(make("div", { class: "scroll" }, s.table({ columns: [{ key: "round", title: "round", digits: 0 }, { key: "label", title: "objective", digits: null }, { key: "successes", title: "controlled", digits: 0 }, { key: "tested", title: "tested", digits: 0 }, { key: "ends", title: "Wilson 95 %", digits: null }, { key: "group_p", title: "group p", digits: 4 }],
        rows: data.success.map(function (h) { return Object.assign({ ends: s.percent(h.low) + " to " + s.percent(h.high) }, h); }) })));
    }
    if (data.evolved.length) {
      root.append(make("h3", { text: "Evolution on the rig" }), make("p", { class: "small", text: "Mean score of each generation above the references, in natural SDs. The images of the last point were shown again: chosen as the highest, so that the scores before it are too high." }));
      for (const round of Array.from(new Set(data.evolved.map(function (e) { return e.round; })))) {
        const mine = data.evolved.filter(function (e) { return e.round === round; }), targets = Array.from(new Set(mine.map(function (e) { return e.target; })));
        root.append(s.overRounds(targets.slice(0, 7).map(function (t) { return { name: t, points: mine.filter(function (e) { return e.target === t; }).map(function (e) { return { x: e.generation, y: e.mean }; }) }; }),
          "score (natural SD)", "mean scores of the generations before round " + round, { across: "generation before round " + round }));
      }
      root.append(make("details", null, make("summary", { text: "all generations as a table" }), make("div", { class: "scroll" }, s.table({ columns: [{ key: "round", title: "round", digits: 0 }, { key: "generation", title: "generation", digits: 0 }, { key: "target", title: "target", digits: null }, { key: "mean", title: "mean score", digits: 2 }, { key: "best", title: "best score", digits: 2 }, { key: "reference", title: "references (response)", digits: 2 }, { key: "shown", title: "", digits: null }],
        rows: data.evolved.map(function (e) { return Object.assign({ shown: e.again ? "shown again" : "" }, e); }) }))));
    }
    root.append(make("h3", { text: "Encoders" }), make("div", { class: "scroll" }, s.table({ columns: [{ key: "round", title: "round", digits: 0 }, { key: "session", title: "session", digits: null }, { key: "encoder", title: "encoder", digits: null }, { key: "maker", title: "made by", digits: null }, { key: "mode", title: "refit", digits: null }, { key: "check", title: "check of the refit", digits: null },
      { key: "natural", title: "held-out r", digits: 2 }, { key: "prequential", title: "prequential r2", digits: 2 }, { key: "generations", title: "generations of evolution", digits: 0 }], rows: data.entries })));
    s.note(root, data.note);
  };
}());
