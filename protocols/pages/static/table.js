// Sortable tables: one made from data, and any table of a page that has a head (`stimsynth.sortable`).
"use strict";
(function () {
  const s = window.stimsynth, make = s.make;

  // What a cell sorts by: data-value, else the number that its text begins with, else its text; null = empty.
  function valueOf(cell) {
    if (!cell) return null;
    const given = cell.getAttribute("data-value"), text = (given === null ? cell.textContent : given).trim();
    if (text === "" || text === "-") return null;
    const number = given === null ? leading(text) : Number(given);
    return Number.isFinite(number) ? number : text.toLowerCase();
  }
  function leading(text) {
    const found = /^[+\u2212-]?(\d+(\.\d+)?|\.\d+)(e[+-]?\d+)?(?=$|[\s%\[(])/i.exec(text);
    return found ? Number(found[0].replace("\u2212", "-")) : NaN;
  }
  // Numbers before text; empty cells are last whichever way.
  function compare(a, b, falling) {
    if (a === null || b === null) return (a === null ? 1 : 0) - (b === null ? 1 : 0);
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    const order = typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
    return falling ? -order : order;
  }

  // Make the head of a table sort its body by click and keyboard. The head is its first row of <th>.
  s.sortable = function (table) {
    const head = table.querySelector("tr");
    if (!head || table.dataset.sortable) return table;
    table.dataset.sortable = "1";
    const cells = Array.from(head.children);
    cells.forEach(function (th, column) {
      if (th.tagName !== "TH" || !th.textContent.trim() || th.dataset.unsorted !== undefined) return;
      const words = Array.from(th.childNodes), button = make("button", { type: "button", class: "sort" });
      words.forEach(function (node) { button.append(node); });
      th.append(button);
      th.setAttribute("aria-sort", "none");
      button.addEventListener("click", function () { sort(column); });
    });
    function sort(column) {
      const th = cells[column], before = th.getAttribute("aria-sort");
      const body = Array.from(table.querySelectorAll("tr")).filter(function (row) { return row !== head && row.closest("table") === table; });
      const values = body.map(function (row) { return valueOf(row.children[column]); });
      const numbers = values.some(function (v) { return typeof v === "number"; });
      const falling = before === "none" ? numbers : before === "ascending";
      for (const other of cells) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
      th.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const order = body.map(function (row, i) { return i; }).sort(function (a, b) { return compare(values[a], values[b], falling) || a - b; });
      const home = body.length ? body[0].parentNode : null;
      order.forEach(function (i) { home.append(body[i]); });
    }
    table.sortBy = sort;
    return table;
  };

  // A sortable table of {columns: [{key, title, digits, hint}], rows}; digits null = text.
  // options: caption, key (that names a row), chosen, open(row): makes the first cell a button.
  s.table = function (data, options) {
    options = options || {};
    const head = make("tr", null, data.columns.map(function (c) {
      return make("th", { scope: "col", title: c.hint || null, class: c.digits === null ? null : "n", text: c.title });
    }));
    const rows = data.rows.map(function (row) {
      const name = options.key ? row[options.key] : "";
      return make("tr", { "data-row": name, "aria-current": options.key && name === options.chosen ? "true" : null }, data.columns.map(function (c, i) {
        const value = row[c.key], number = c.digits !== null && s.known(value);
        const text = value === null || value === undefined || value === "" ? "-" : number ? value.toFixed(c.digits) : String(value);
        const inner = i === 0 && options.open ? make("button", { type: "button", class: "link", onclick: function () { options.open(row); } }, text) : text;
        return make(i === 0 ? "th" : "td", { scope: i === 0 ? "row" : null, class: c.digits === null ? null : "n", "data-value": number ? value : null }, inner);
      }));
    });
    const table = make("table", { class: "data" }, options.caption ? make("caption", { text: options.caption }) : null, make("thead", null, head), make("tbody", null, rows));
    return s.sortable(table);
  };
  s.csv = function (data) {
    const cell = function (v) { const t = v === null || v === undefined ? "" : String(v); return /[",\n\r]/.test(t) ? "\"" + t.replaceAll("\"", "\"\"") + "\"" : t; };
    return [data.columns.map(function (c) { return cell(c.key); })].concat(data.rows.map(function (r) { return data.columns.map(function (c) { return cell(r[c.key]); }); }))
      .map(function (line) { return line.join(","); }).join("\n") + "\n";
  };
}());
