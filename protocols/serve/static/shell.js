// The frame of the served page: which view is shown, what every page asks for again and again, and decisions.
"use strict";
(function () {
  const s = window.stimsynth, make = s.make;
  const POLL_MS = 2000, HIDDEN_MS = 15000, LIVE = new Set(["board", "log", "decisions"]);
  const panel = document.getElementById("panel"), links = new Map();
  for (const link of document.querySelectorAll("#views a")) links.set(link.dataset.view, link);
  const allowed = Boolean(document.body.dataset.decisions), unblinded = Boolean(document.body.dataset.unblinded);
  const tags = new Map(), answers = new Map();
  let shown = null, status = null, turn = 0, timer = 0, busy = false;

  // What a path answers; the browser's copy where it has not changed. A refusal is an Error with the words of the server.
  async function ask(path) {
    const known = tags.get(path), headers = known ? { "If-None-Match": known } : {};
    const answer = await fetch(path, { headers: headers, credentials: "same-origin", cache: "no-store" });
    if (answer.status === 304) return answers.get(path);
    const text = await answer.text();
    let value = null;
    try { value = JSON.parse(text); } catch { value = { error: text.slice(0, 500) }; }
    if (!answer.ok) throw Object.assign(new Error(value.error || "status " + answer.status), { told: true });
    const tag = answer.headers.get("etag");
    if (tag) { if (tags.size > 40) { tags.clear(); answers.clear(); } tags.set(path, tag); answers.set(path, value); }
    return value;
  }

  function address() {
    const [name, text] = location.hash.replace(/^#\/?/, "").split("?");
    const query = Object.fromEntries(new URLSearchParams(text || ""));
    return { name: links.has(name) ? name : "board", query: query };
  }
  function go(name, query) {
    const text = new URLSearchParams(query || {}).toString();
    const wanted = "#/" + name + (text ? "?" + text : "");
    if (location.hash === wanted) show(true); else location.hash = wanted;
  }
  function path(where) {
    const text = new URLSearchParams(where.query).toString();
    return "/api/view/" + encodeURIComponent(where.name) + (text ? "?" + text : "");
  }

  // `quiet`: the same view again, so that the place of the page and the focus stay.
  async function show(quiet) {
    const where = address(), mine = ++turn;
    for (const [name, link] of links) {
      if (name === where.name) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
    }
    if (!quiet) delete panel.dataset.shown;
    if (!quiet) panel.replaceChildren(make("p", { class: "ss", text: "\u2026" }));
    const root = make("div", { class: "ss" });
    root.append(make("h2", { text: links.get(where.name).textContent }));
    let found = null;
    try {
      found = await ask(path(where));
      if (mine !== turn) return;
      if (found.error) throw Object.assign(new Error(found.error), { told: true });
      s.views[where.name](root, found.data, context(where, found));
    } catch (error) {
      if (mine !== turn) return;
      root.append(make("p", { class: "warning", role: "alert", text: error.told ? error.message : "This view cannot be drawn: " + error.message }));
      if (!error.told && !(error instanceof TypeError && /fetch/i.test(error.message))) console.error(error);
    }
    shown = { where: where, stamp: found ? found.stamp : "", live: status ? status.live : "" };
    document.getElementById("changed").hidden = true;
    panel.replaceChildren(root);
    panel.dataset.shown = where.name;
    if (!quiet) { window.scrollTo(0, 0); panel.focus({ preventScroll: true }); }
  }

  function context(where, found) {
    return {
      query: where.query, frozen: false, blind: !unblinded, status: function () { return status; }, go: go, ask: ask,
      image: function (id, full) { return "/image/" + String(id).split("/").map(encodeURIComponent).join("/") + (full ? "?full" : ""); },
      decide: allowed ? function (decision) { return decide(decision, found); } : undefined,
    };
  }

  function who() { return localStorage.getItem("stimsynth.who") || document.body.dataset.who || ""; }

  // Record a decision; what others decided since this page was drawn is told, and nothing is recorded.
  async function decide(decision, found) {
    const made = found.made || {}, image = decision.image ? decision.name || decision.image : "";
    const body = {
      action: decision.action || decision.decision, reason: decision.reason || "", who: decision.who || who(), image: image,
      sites: decision.sites || [], expected: found.sequence || 0,
      made: image && decision.round !== undefined ? made[String(decision.round)] || "" : "",
    };
    if (decision.to !== undefined) body.round = decision.to;
    else if (image && decision.round !== undefined) body.round = Number(decision.round);
    const answer = await fetch("/api/decide", { method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const text = await answer.text();
    let value = {};
    try { value = JSON.parse(text); } catch { value = { error: text.slice(0, 300) }; }
    await poll();
    if (value.sequence !== undefined) found.sequence = Math.max(found.sequence || 0, value.sequence);  // what was told is known here
    if (answer.status === 409) {
      const since = (value.since || []).map(function (d) { return d.who + ": " + d.action + " " + (d.image || d.sites.join(", ")) + " (" + d.reason + ")"; });
      throw new Error("Not recorded: since this page was drawn, others decided " + since.join("; ") + ". Look at it, and decide again where it still holds.");
    }
    if (!answer.ok) throw new Error(value.error || "status " + answer.status);
    if (shown && status) { shown.stamp = status.stamp; document.getElementById("changed").hidden = true; }  // the view knows its own decision
    return value;
  }

  function told() {
    document.getElementById("standing").textContent = status.summary || "";
    const work = document.getElementById("work"), now = status.working;
    work.hidden = !now;
    if (now) work.textContent = s.working(now);
  }
  async function poll() {
    if (busy) return;
    busy = true;
    const away = document.getElementById("away");
    try {
      const found = await ask("/api/status");
      const first = status === null;
      status = found;
      if (first || found.name) { document.getElementById("project").textContent = found.name || "stimsynth"; document.title = (found.name || "stimsynth") + " - stimsynth"; }
      away.hidden = true;
      told();
      const editing = panel.contains(document.activeElement) && /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
      if (shown && shown.where.name === "board" && shown.live !== found.live) await show(true);
      else if (shown && shown.stamp !== found.stamp) {
        if (LIVE.has(shown.where.name) && !editing && !document.querySelector("dialog[open]")) await show(true);
        else document.getElementById("changed").hidden = false;
      }
    } catch (error) {
      away.hidden = false;
      away.textContent = error.told ? error.message : "The server does not answer; this page shows what it knew last. Is `stimsynth serve` still running?";
    } finally { busy = false; }
  }
  async function turnOver() {
    clearTimeout(timer);
    await poll();
    timer = setTimeout(turnOver, document.hidden ? HIDDEN_MS : POLL_MS);
  }

  s.who = who;
  s.working = function (now) {
    let text = "`" + now.command + "` is at work on " + now.machine + " since " + now.since;
    if (now.step) {
      text += ": " + now.step.label.replace(" | ", ", ") + " " + now.step.done + " of " + now.step.total;
      if (now.step.done > 0 && now.step.total > now.step.done) {
        const left = now.step.seconds / now.step.done * (now.step.total - now.step.done);
        text += ", about " + (left < 90 ? left.toFixed(0) + " s" : (left / 60).toFixed(0) + " min") + " left";
      }
    }
    return text;
  };
  window.addEventListener("hashchange", function () { show(false); });
  document.getElementById("again").addEventListener("click", function () { show(true); });
  document.addEventListener("visibilitychange", function () { if (!document.hidden) turnOver(); });
  turnOver().then(function () { show(false); });
}());
