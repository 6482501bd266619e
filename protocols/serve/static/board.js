// The round board: stages, what is waited for, the next command, live progress, exclusions.
"use strict";
(function () {
  const s = window.stimsynth, make = s.make;

  function bar(label, value, text) {
    return make("p", null, make("progress", { max: "1", value: String(Math.max(0, Math.min(1, value))), "aria-label": label }), " " + text);
  }
  function counts(record) {
    return Object.entries(record || {}).filter(function (pair) { return pair[1]; }).map(function (pair) { return pair[1] + " " + pair[0].replaceAll("_", " "); }).join(", ");
  }

  function images(record) {
    return Object.entries(record || {}).filter(function (pair) { return pair[1]; }).map(function (pair) {
      return pair[1] + " " + pair[0] + (pair[1] === 1 || pair[0] === "natural" || pair[0] === "graded" ? "" : "s");
    }).join(", ");
  }

  function next(data) {
    const box = make("div", { class: "next" }, make("p", null, make("b", { text: data.summary || "" })));
    if (data.command && data.waiting_for !== "responses") box.append(make("p", null, "Next: ", make("code", { text: data.command })));
    if (data.waiting_for === "responses") box.append(make("p", null, "Waiting for the rig. ", make("code", { text: data.command }), " takes the answer when it is there."));
    if (data.stage === "export") box.append(make("p", null, "The images can still be looked at and vetoed: the export honours it, afterwards nothing can be vetoed."));
    if (data.working) box.append(make("p", { text: s.working(data.working) }));
    if (data.working && data.working.step && data.working.step.total) box.append(bar("progress of " + data.working.command, data.working.step.done / data.working.step.total, data.working.step.label.split(" | ")[0]));
    return box;
  }
  function stages(names, done, current) {
    return make("ol", { class: "stages", "aria-label": "stages" }, names.map(function (name, i) {
      const state = i < done ? "done" : i === done && current ? "now" : "";
      return make("li", { class: state, "aria-current": state === "now" ? "step" : null }, name + (state === "done" ? " \u2713" : ""));
    }));
  }
  function delivery(found) {
    const all = found.blocks.concat(found.missing_blocks).sort(function (a, b) { return a - b; });
    const total = found.trials + found.missing_trials;
    return [
      bar("trials delivered", total ? found.trials / total : 0, found.trials + " of " + total + " trials"),
      make("ul", { class: "blocks", "aria-label": "blocks" }, all.map(function (block) {
        const here = found.blocks.includes(block);
        return make("li", { class: here ? "here" : "", title: "block " + block + (here ? " is delivered" : " is missing") }, block + (here ? " \u2713" : ""));
      })),
      Object.entries(found.refused || {}).map(function (pair) { return make("p", { class: "warning", text: pair[0] + ": " + pair[1] }); }),
    ];
  }
  function round(record, data) {
    const current = record.round === data.round && data.stage !== "finished";
    const box = make("section", { class: "round", "aria-label": "round " + record.round });
    box.append(make("h3", { text: (record.round ? "Round " + record.round : "Baseline") + " (" + record.session + "): " + record.state }));
    if (record.round) box.append(stages(data.stages, record.done, current));
    const shown = images(record.images);
    if (shown) box.append(make("p", { text: shown + (record.trials ? ", " + record.trials + " trials" : "") }));
    if (record.verdicts && Object.keys(record.verdicts).length) box.append(make("p", null, make("b", { text: counts(record.verdicts) })));
    if (record.safety && record.safety !== "within limits") box.append(make("p", { class: "warning", text: "Safety: " + record.safety }));
    if (record.evolution) box.append(make("p", { text: record.evolution.generations + " generations recorded" + (record.evolution.finished ? ", finished" : "") }));
    if (record.look_due) box.append(make("p", { text: "An interim look is due, by " + record.look_due + ".h5" }));
    if (record.delivery) box.append(make("p", { text: record.delivery.summary }), ...delivery(record.delivery).flat());
    if (record.late_parts && record.late_parts.length) box.append(make("p", { class: "warning", text: "Came after the answer was joined: " + record.late_parts.join(", ") }));
    return box;
  }
  function shards(plans) {
    return plans.map(function (plan) {
      if (plan.share === undefined) return make("p", { text: plan.plan + ": " + plan.note });
      const failed = Object.entries(plan.failed);
      const running = Object.keys(plan.running).length;
      return [bar("shards of " + plan.plan, plan.share, plan.plan + ": " + plan.done + " of " + plan.shards + " shards" + (running ? ", " + running + " running" : "") + (failed.length ? ", " + failed.length + " failed" : "")),
        failed.slice(0, 3).map(function (pair) { return make("p", { class: "warning", text: "shard " + pair[0] + ": " + pair[1].split("\n").filter(Boolean).slice(-1)[0] }); })];
    });
  }
  function exclusions(found) {
    const body = found.map(function (x) {
      const more = x.count - x.sites.length;
      return make("tr", null, make("td", { text: String(x.round) }), make("td", { text: x.what }), make("td", { text: x.reason || "-" }), make("td", { text: String(x.count) }), make("td", { text: x.sites.join(", ") + (more > 0 ? " and " + more + " more" : "") }));
    });
    const head = ["round", "what", "reason", "sites", "which"].map(function (name) { return make("th", { scope: "col", text: name }); });
    return make("div", { class: "scroll" }, make("table", { class: "wide" }, make("thead", null, make("tr", null, head)), make("tbody", null, body)));
  }

  s.views.board = function (root, data, context) {
    for (const fault of data.faults || []) root.append(make("p", { class: "warning", role: "alert", text: fault }));
    if (data.summary !== undefined) root.append(next(data));
    const plans = (data.shards || []).flat();
    if (plans.length) root.append(make("h3", { text: "Images being made" }), ...shards(plans).flat(2));
    const rounds = (data.rounds || []).slice().reverse();
    if (rounds.length) root.append(make("h3", { text: "Rounds" }));
    for (const record of rounds) root.append(round(record, data));
    const decided = data.decided;
    if (decided && decided.sequence) {
      const link = make("a", { href: "#/decisions" }, "all of them");
      root.append(make("h3", { text: "Decisions" }), make("p", null, decided.sequence + " decisions: " + decided.vetoed + " images vetoed, " + decided.approved + " approved, " + decided.stopped + " sites stopped; ", link));
    }
    if (data.exclusions && data.exclusions.length) root.append(make("h3", { text: "Without a verdict, or left out" }), exclusions(data.exclusions));
    void context;
  };
}());
