// The report page: searches, filters and shows the catalogue in the element #data. Sends no request.
// All text of the catalogue becomes text nodes or attributes, never HTML.
"use strict";

const SCHEMA = 1;
const OVERSCAN = 10; // rows drawn above and below the screen
const MAX_HEIGHT = 15_000_000; // pixels; browsers limit the height of an element
const PRINTED = 2_000; // rows
const FACETS = 14; // values shown before "Show all"
const CHANGES = 8; // changes shown before "Show more"
const RELATED = 5; // other segments with the same filters
const MONTHS = 24; // in the charts
const DAY = 86_400_000; // milliseconds
const KINDS = { // of changes, in the order in which they are shown
  added: "added", removed: "removed", unknown: "unknown", renamed: "renamed", description: "filters changed",
  text_description: "note changed", tags: "tags changed", teams: "teams changed", tracking: "tracking changed", size: "size changed",
};
const FORMULA = /^[=+\-@\t\r\n＝＋－＠]/;

const $ = (id) => document.getElementById(id);
const count = new Intl.NumberFormat("en");
const percent = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1, signDisplay: "exceptZero" });
const utc = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...options });
const day = utc({ day: "numeric", month: "short", year: "numeric" });
const minute = utc({ day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
const month = utc({ month: "short", year: "numeric" });
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** Create an element. Properties in lower case are set as attributes; strings among the children become text. */
function make(tag, properties, ...children) {
  const element = tag === "svg" || tag === "path" || tag === "line"
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Text of the catalogue: isolated, so that its direction of writing does not affect what is around it. */
const isolated = (text, properties) => make("bdi", { dir: "auto", ...properties }, text);
const plural = (number, word) => `${count.format(number)} ${word}${number === 1 ? "" : "s"}`;
const time = (text) => { const value = text ? Date.parse(text) : NaN; return Number.isNaN(value) ? null : value; };
const fold = (text) => /^[\x20-\x7e\n]*$/.test(text) ? text.toLowerCase() : text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

function ago(value) {
  const days = (Date.now() - value) / DAY;
  const [amount, unit] = days < 1 / 24 ? [days * 1440, "minute"] : days < 1 ? [days * 24, "hour"] : days < 60 ? [days, "day"]
    : days < 730 ? [days / 30.44, "month"] : [days / 365.25, "year"];
  return relative.format(-Math.trunc(amount), unit);
}

/** The points of a size history. The file has the first day if there is one point a day, else all days. */
function sizePoints({ sizes }) {
  if (!sizes) return [];
  const first = time(sizes.from);
  return sizes.values.map((size, index) => ({ size, time: sizes.times ? time(sizes.times[index]) : first + index * DAY }));
}

function describeHistory(points) {
  const [first, last] = [points[0], points.at(-1)];
  const change = first.size ? `, ${percent.format(last.size / first.size - 1)}` : "";
  return `${count.format(first.size)} on ${day.format(first.time)}, ${count.format(last.size)} on ${day.format(last.time)}${change}`;
}

/** Map sizes to heights from 0 to 1. A change of less than a tenth does not fill the height: it would look like a jump. */
function scale(points) {
  const sizes = points.map((point) => point.size);
  let [low, high] = [Math.min(...sizes), Math.max(...sizes)];
  const missing = high / 10 - (high - low);
  if (missing > 0) { low -= missing / 2; high += missing / 2; }
  return (size) => high === low ? 0.5 : (size - low) / (high - low);
}

function line(points, width, height) {
  const heightOf = scale(points);
  const step = points.length > 1 ? width / (points.length - 1) : 0;
  return points.map((point, index) => `${index ? "L" : "M"}${(index * step).toFixed(1)} ${((1 - heightOf(point.size)) * height).toFixed(1)}`).join("");
}

function start() {
  let data;
  try {
    data = JSON.parse($("data").textContent);
  } catch {
    return fail("The data of this page is damaged or incomplete. Ask for the file again, or create it again.");
  }
  if (data.schema !== SCHEMA) return fail("The data of this page has another version than its program. Create the page again.");
  new Page(data);
}

function fail(text) {
  $("loading").hidden = true;
  $("problem").textContent = text;
  $("problem").hidden = false;
}

class Page {
  constructor(data) {
    this.data = data;
    this.segments = data.segments;
    this.has = new Set(data.fields);
    this.now = time(data.exported_at) ?? time(data.written_at);
    this.rowOf = new Map();
    this.segments.forEach((segment, index) => {
      segment.index = index;
      segment.created = time(segment.created_at);
      segment.updated = time(segment.updated_at);
      segment.size = segment.estimated_size ?? segment.sizes?.values.at(-1) ?? null;
      segment.tags ??= [];
      segment.teams ??= [];
      this.rowOf.set(segment.id, segment);
    });
    this.columns = this.chooseColumns();
    const first = this.has.has("updated_at") ? "updated" : "name";
    this.state = { query: "", tags: new Set(), teams: new Set(), focus: null, sort: first, descending: first !== "name" };
    this.shown = [];
    this.drawn = new Map();

    this.showSource();
    this.showTotals();
    this.showPartial();
    this.showAttention();
    this.showChanges();
    this.showActivity();
    this.showTable();
    this.facets = ["tags", "teams"].map((name) => this.showFacet(name));
    this.listen();
    $("loading").hidden = true;
    $("content").hidden = false;
    this.update();
    this.openFromAddress();
  }

  chooseColumns() {
    const { has } = this;
    const sizes = this.segments.some((segment) => segment.sizes);
    return [
      { key: "name", label: "Name", width: "minmax(0, 1fr)" },
      (has.has("estimated_size") || sizes) && { key: "size", label: "Size", width: sizes ? "180px" : "100px" },
      has.has("updated_at") && { key: "updated", label: "Edited", width: "104px" },
      has.has("created_at") && { key: "created", label: "Created", width: "104px" },
    ].filter(Boolean);
  }

  // ---- what is above the catalogue

  showSource() {
    const { provenance, file } = this.data;
    const source = provenance?.instance ?? file;
    if (source) document.title = `Segments – ${source}`;
    $("source").append(
      ...(source ? [make("b", null, isolated(source)), " · "] : []),
      this.data.exported_at ? "exported " : "written ", `${minute.format(this.now)} UTC (${ago(this.now)})`,
    );
    const parts = [this.data.written_by];
    if (file && file !== source) parts.push(file);
    if (provenance) {
      parts.push(`listed with consistency ${provenance.consistency}`);
      if (provenance.archived) parts.push(`${plural(provenance.archived, "segment")} archived during the export`);
    }
    $("footer").append(...parts.flatMap((part, index) => [index ? " · " : "", isolated(part)]),
      make("p", null, "Sizes are estimates by Braze. Times are in UTC. Braze does not report where a segment is used: check in the dashboard before you archive one."));
  }

  showTotals() {
    const recent = (key) => this.segments.filter((segment) => segment[key] !== null && segment[key] > this.now - 30 * DAY).length;
    const noted = new Set(this.data.findings.flatMap((finding) => finding.items.flatMap((item) => item.rows)));
    for (const [label, value] of [
      ["Segments", this.segments.length],
      ["With a finding", noted.size],
      this.has.has("created_at") && ["Created in 30 days", recent("created")],
      this.has.has("updated_at") && ["Edited in 30 days", recent("updated")],
      this.has.has("tags") && ["Without tags", this.segments.filter((segment) => !segment.tags.length).length],
    ].filter(Boolean)) {
      $("totals").append(make("div", null, make("dt", null, label), make("dd", null, count.format(value))));
    }
  }

  showPartial() {
    const failed = Object.entries(this.data.failed);
    const missing = Math.max(failed.length, this.data.provenance?.failed ?? 0);
    if (!missing) return;
    $("partial").hidden = false;
    $("partial").append(
      make("h2", { id: "partial-title" }, `Partial: ${plural(missing, "segment")} could not be fetched`),
      make("p", null, "The catalogue, its totals and its findings do not include what is missing."),
      failed.length > 0 && make("details", null, make("summary", null, "Show them"), make("ul", null, failed.slice(0, 500).map(([id, message]) =>
        make("li", null, isolated(id), ": ", isolated(message))))),
    );
  }

  showAttention() {
    const { findings } = this.data;
    $("attention").append(make("h2", { id: "attention-title" }, "Needs attention"));
    if (!findings.length) {
      $("attention").append(make("p", { class: "good" }, this.segments.length ? "No findings. All checks passed." : "Nothing to check."));
      return;
    }
    $("attention").append(make("p", { class: "lead" }, "Candidates for a check, not errors. Each segment shows its reasons."));
    this.reasons = new Map(); // by row
    const cards = findings.map((finding) => {
      const rows = [...new Set(finding.items.flatMap((item) => item.rows))];
      for (const item of finding.items) {
        for (const row of item.rows) {
          if (!this.reasons.has(row)) this.reasons.set(row, []);
          this.reasons.get(row).push({ title: finding.title, ...item, related: finding.rule === "same-filters" });
        }
      }
      const focus = { label: finding.title, rows };
      return make("article", { class: "finding" },
        make("h3", null, finding.title),
        make("p", { class: "number" }, count.format(rows.length), make("span", null, rows.length === 1 ? " segment" : " segments")),
        make("p", null, finding.check),
        this.focusButton(focus, `Show ${rows.length === 1 ? "it" : "them"}`));
    });
    $("attention").append(make("div", { class: "findings" }, cards));
  }

  /** A button that restricts the catalogue to some rows, in the order in which they were found. */
  focusButton(focus, label) {
    const button = make("button", { type: "button", "aria-pressed": "false", "aria-label": `${label}: ${focus.label}`, click: () => {
      this.setFocus(this.state.focus === focus ? null : focus);
      if (this.state.focus) $("catalogue").scrollIntoView();
    } }, label);
    focus.button = button;
    return button;
  }

  setFocus(focus) {
    const { state } = this;
    state.focus?.button.setAttribute("aria-pressed", "false");
    focus?.button.setAttribute("aria-pressed", "true");
    if (state.sort !== "found") this.usualOrder = { sort: state.sort, descending: state.descending };
    state.focus = focus;
    if (focus) Object.assign(state, { sort: "found", descending: false });
    else if (state.sort === "found") Object.assign(state, this.usualOrder);
    this.update();
  }

  showChanges() {
    const { changes } = this.data;
    if (!changes) return;
    const section = $("changes");
    section.hidden = false;
    const since = time(changes.since.exported_at);
    section.append(make("h2", { id: "changes-title" }, "Changes since ", since ? `${minute.format(since)} UTC` : isolated(changes.since.file ?? "the previous export")));
    if (!changes.items.length) {
      section.append(make("p", { class: "good" }, "No changes."));
      return;
    }
    const order = Object.keys(KINDS);
    changes.items.sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind));
    const kinds = new Map();
    for (const change of changes.items) kinds.set(change.kind, (kinds.get(change.kind) ?? 0) + 1);
    const list = make("ul", { class: "changes" });
    const more = make("button", { type: "button", class: "more", click: () => draw(list.children.length + 100) });
    let kind = null;
    const draw = (limit) => {
      const chosen = changes.items.filter((change) => kind === null || change.kind === kind);
      const old = list.children.length;
      if (limit <= CHANGES) list.replaceChildren();
      list.append(...chosen.slice(limit <= CHANGES ? 0 : old, limit).map((change) => this.changeItem(change)));
      more.hidden = chosen.length <= limit;
      more.textContent = `Show more (${count.format(Math.min(limit, chosen.length))} of ${count.format(chosen.length)})`;
    };
    const buttons = [...kinds].map(([name, number]) => make("button", { type: "button", "aria-pressed": "false", click: ({ currentTarget }) => {
      kind = kind === name ? null : name;
      for (const button of buttons) button.setAttribute("aria-pressed", String(button === currentTarget && kind !== null));
      draw(CHANGES);
    } }, `${KINDS[name] ?? name} ${count.format(number)}`));
    section.append(make("div", { class: "kinds", role: "group", "aria-label": "Kinds of changes" }, buttons), list, more);
    draw(CHANGES);
    this.changesOf = Map.groupBy ? Map.groupBy(changes.items, (change) => change.id) : changes.items.reduce((map, change) =>
      map.set(change.id, [...(map.get(change.id) ?? []), change]), new Map());
  }

  changeItem(change, linked = true) {
    const segment = this.rowOf.get(change.id);
    const [before, after] = this.changedValues(change);
    const name = isolated(change.name || change.id);
    return make("li", null,
      make("span", { class: `kind ${change.kind}` }, KINDS[change.kind] ?? change.kind),
      make("div", null,
        linked && (segment ? make("button", { type: "button", class: "name", click: () => this.open(segment) }, name) : make("b", null, name)),
        change.kind === "unknown" && make("p", { class: "muted" }, "Could not be fetched in one of the exports."),
        before && make("del", { class: "before" }, isolated(before)),
        after && make("ins", { class: "after" }, isolated(after))));
  }

  /** The values of a change as texts. Of lists, only the differences. */
  changedValues({ before, after }) {
    if (before === undefined) return [];
    if (Array.isArray(before)) return [before.filter((each) => !after.includes(each)).join(", "), after.filter((each) => !before.includes(each)).join(", ")];
    if (typeof before === "number") return [count.format(before), `${count.format(after)}${before ? ` (${percent.format(after / before - 1)})` : ""}`];
    const show = (value) => ({ true: "on", false: "off" })[value] ?? value;
    return [show(before), show(after)];
  }

  showActivity() {
    const shown = [["Created", "created", "created_at"], ["Last edited", "updated", "updated_at"]].filter(([, , field]) => this.has.has(field));
    if (!shown.length || !this.segments.length) return;
    const end = new Date(this.now);
    const months = Array.from({ length: MONTHS }, (_, index) => Date.UTC(end.getUTCFullYear(), end.getUTCMonth() - MONTHS + 1 + index));
    const position = (value) => {
      const date = new Date(value);
      return MONTHS - 1 - ((end.getUTCFullYear() - date.getUTCFullYear()) * 12 + end.getUTCMonth() - date.getUTCMonth());
    };
    const series = shown.map(([title, key]) => {
      const values = new Array(MONTHS).fill(0);
      let earlier = 0;
      for (const segment of this.segments) {
        if (segment[key] === null) continue;
        const index = position(segment[key]);
        if (index < 0) earlier++;
        else if (index < MONTHS) values[index]++;
      }
      return { title, values, earlier };
    });
    const charts = series.map(({ title, values, earlier }) => {
      const most = Math.max(...values);
      const bars = values.map((value, index) => {
        const bar = make("span", { title: `${month.format(months[index])}: ${count.format(value)}` });
        bar.style.height = value ? `max(2px, ${100 * value / most}%)` : "0";
        return bar;
      });
      const summary = `${title} per month, ${month.format(months[0])} to ${month.format(months.at(-1))}: at most ${count.format(most)} a month; ${count.format(earlier)} earlier`;
      return make("figure", { class: "chart" },
        make("figcaption", null, make("h3", null, `${title} per month`), make("span", { class: "muted" }, `at most ${count.format(most)}`)),
        make("div", { class: "bars", role: "img", "aria-label": summary }, bars),
        make("div", { class: "axis" }, make("span", null, month.format(months[0])), earlier > 0 && make("span", null, `${count.format(earlier)} earlier`), make("span", null, month.format(months.at(-1)))));
    });
    $("activity").hidden = false;
    $("activity").append(
      make("h2", { id: "activity-title" }, "Activity"),
      make("div", { class: "charts" }, charts),
      valueTable("Show the numbers", ["Month", ...series.map(({ title }) => title)],
        months.map((value, index) => [month.format(value), ...series.map(({ values }) => count.format(values[index]))]).reverse()));
  }

  // ---- the catalogue: search, facets, order

  haystack(segment) {
    return segment.haystack ??= fold([segment.name, segment.description, segment.text_description, ...segment.tags, ...segment.teams, segment.id].filter(Boolean).join("\n"));
  }

  update({ keepFacets = false } = {}) {
    const { query, tags, teams, focus, sort, descending } = this.state;
    this.terms = fold(query).split(/\s+/).filter(Boolean);
    const matches = (chosen, values) => [...chosen].every((value) => value === null ? !values.length : values.includes(value));
    let rows = focus ? focus.rows.map((row) => this.segments[row]) : this.segments;
    if (tags.size) rows = rows.filter((segment) => matches(tags, segment.tags));
    if (teams.size) rows = rows.filter((segment) => matches(teams, segment.teams));
    if (this.terms.length) rows = rows.filter((segment) => { const text = this.haystack(segment); return this.terms.every((term) => text.includes(term)); });
    this.shown = this.sorted(rows, sort, descending);
    if (!keepFacets) for (const facet of this.facets) facet(this.shown);
    this.redraw();
  }

  applySearch() {
    clearTimeout(this.waiting);
    $("table").removeAttribute("aria-busy");
    if (this.state.query === $("search").value) return;
    this.state.query = $("search").value;
    this.update();
    this.toStart();
  }

  sorted(rows, sort, descending) {
    if (sort === "found") return [...rows];
    const sign = descending ? -1 : 1;
    if (sort === "name") {
      if (!this.ranked) { // comparing names is slow, numbers are fast
        this.ranked = true;
        [...this.segments].sort((a, b) => collator.compare(a.name, b.name)).forEach((segment, rank) => { segment.rank = rank; });
      }
      return [...rows].sort((a, b) => sign * (a.rank - b.rank));
    }
    // Segments without a value are last in both directions.
    return [...rows].sort((a, b) => {
      if (a[sort] === null || b[sort] === null) return (a[sort] === null) - (b[sort] === null) || a.index - b.index;
      return sign * (a[sort] - b[sort]) || a.index - b.index;
    });
  }

  setSort(key, descending) {
    Object.assign(this.state, { sort: key, descending });
    this.update({ keepFacets: true });
    this.toStart();
  }

  /** Scroll to the first row if the top of the list is above the screen. */
  toStart() {
    if ($("table").getBoundingClientRect().top < 0) $("catalogue").scrollIntoView();
  }

  showFacet(name) {
    const field = $(name);
    const totals = new Map();
    let without = 0;
    for (const segment of this.segments) {
      for (const value of new Set(segment[name])) totals.set(value, (totals.get(value) ?? 0) + 1);
      if (!segment[name].length) without++;
    }
    if (!totals.size) {
      field.hidden = true;
      return () => {};
    }
    const values = [...totals].sort(([a, m], [b, n]) => n - m || collator.compare(a, b)).map(([value]) => value);
    const entries = new Map();
    const chosen = this.state[name];
    const add = (value) => {
      const box = make("input", { type: "checkbox", change: () => {
        if (box.checked) chosen.add(value);
        else chosen.delete(value);
        this.update();
        this.toStart();
      } });
      const output = make("output");
      const label = make("label", null, box, value === null ? make("bdi", { class: "none" }, name === "tags" ? "No tags" : "No team") : isolated(value, { title: value }), output);
      entries.set(value, { box, label, output });
      return label;
    };
    field.append(...values.slice(0, FACETS).map(add));
    if (without) field.append(add(null));
    if (values.length > FACETS) {
      const all = make("button", { type: "button", class: "link", click: () => {
        all.replaceWith(...values.slice(FACETS).map(add));
        refresh(this.shown);
        entries.get(values[FACETS]).box.focus();
      } }, `Show all ${count.format(values.length)}`);
      field.append(all);
    }
    const refresh = (rows) => {
      const counts = new Map();
      for (const segment of rows) {
        const own = segment[name];
        if (!own.length) counts.set(null, (counts.get(null) ?? 0) + 1);
        for (let index = 0; index < own.length; index++) {
          if (own.indexOf(own[index]) === index) counts.set(own[index], (counts.get(own[index]) ?? 0) + 1);
        }
      }
      for (const [value, { box, label, output }] of entries) {
        box.checked = chosen.has(value);
        output.textContent = count.format(counts.get(value) ?? 0);
        label.hidden = !counts.has(value) && !box.checked;
      }
    };
    return refresh;
  }

  showState() {
    const { tags, teams, focus, query } = this.state;
    const all = this.segments.length;
    $("count").textContent = this.shown.length === all ? plural(all, "segment") : `${count.format(this.shown.length)} of ${plural(all, "segment")}`;
    if (this.visible < this.shown.length) $("count").textContent += `; the list shows the first ${count.format(this.visible)}`;
    const chip = (label, remove) => make("button", { type: "button", "aria-label": `Remove the filter ${label}`, click: () => {
      remove();
      this.update();
      $("search").focus({ preventScroll: true });
    } }, isolated(label));
    const chips = [];
    if (focus) chips.push(chip(focus.label, () => this.setFocus(null)));
    for (const value of tags) chips.push(chip(value ?? "No tags", () => tags.delete(value)));
    for (const value of teams) chips.push(chip(value ?? "No team", () => teams.delete(value)));
    $("chips").replaceChildren(...chips);
    $("csv").disabled = !this.shown.length;
    $("csv").setAttribute("aria-label", `Download CSV: ${plural(this.shown.length, "row")}`);
    $("table").hidden = !this.shown.length;
    $("empty").hidden = this.shown.length > 0;
    if (!this.shown.length) {
      $("empty").replaceChildren(...(all ? [
        make("h3", null, "No segment matches"), make("p", null, query ? "Search for fewer or shorter words, or remove filters." : "Remove a filter."),
        make("button", { type: "button", click: () => this.clear() }, "Clear search and filters"),
      ] : [make("h3", null, "No segments"), make("p", null, "The exported workspace has no segments.")]));
    }
    const found = $("sort").options[0];
    found.hidden = found.disabled = !focus;
    $("sort").value = `${this.state.sort} ${this.state.descending}`;
    for (const header of $("table").querySelectorAll("th[data-key]")) {
      if (header.dataset.key === this.state.sort) header.setAttribute("aria-sort", this.state.descending ? "descending" : "ascending");
      else header.removeAttribute("aria-sort");
    }
  }

  clear() {
    this.state.query = $("search").value = "";
    this.state.tags.clear();
    this.state.teams.clear();
    this.setFocus(null);
    $("search").focus({ preventScroll: true });
  }

  // ---- the rows: only those on the screen are in the document

  showTable() {
    const table = $("table");
    table.style.setProperty("--columns", this.columns.map((column) => column.width).join(" "));
    table.setAttribute("aria-colcount", this.columns.length);
    const labels = { name: ["A to Z", "Z to A"], size: ["smallest first", "largest first"], updated: ["oldest first", "newest first"], created: ["oldest first", "newest first"] };
    const head = make("tr", { role: "row", "aria-rowindex": 1 });
    $("sort").append(new Option("As found", "found false"));
    for (const { key, label } of this.columns) {
      head.append(make("th", { role: "columnheader", scope: "col", class: key, "data-key": key },
        make("button", { type: "button", click: () => this.setSort(key, this.state.sort === key ? !this.state.descending : key !== "name") }, label)));
      for (const descending of [key !== "name", key === "name"]) $("sort").append(new Option(`${label}: ${labels[key][+descending]}`, `${key} ${descending}`));
    }
    table.tHead.append(head);
    this.body = table.tBodies[0];
  }

  /** Draw the list again, after its segments or their order have changed. */
  redraw() {
    this.height = parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row"));
    this.visible = Math.min(this.shown.length, Math.floor(MAX_HEIGHT / this.height));
    this.body.style.height = `${this.visible * this.height}px`;
    $("table").setAttribute("aria-rowcount", this.shown.length + 1);
    this.showState();
    this.body.replaceChildren();
    this.drawn.clear();
    this.draw();
  }

  draw() {
    const top = this.body.getBoundingClientRect().top;
    // Some rows are always there, also while the list is not on the screen.
    const last = Math.max(0, this.visible - 2 * OVERSCAN);
    const from = Math.min(last, Math.max(0, Math.floor(-top / this.height) - OVERSCAN));
    const to = Math.min(this.visible, Math.max(from + 2 * OVERSCAN, Math.ceil((innerHeight - top) / this.height) + OVERSCAN));
    for (const [index, row] of this.drawn) {
      if ((index < from || index >= to) && !row.contains(document.activeElement)) {
        row.remove();
        this.drawn.delete(index);
      }
    }
    // In the order of the list, which is the order of the Tab key and of screen readers.
    let next = null;
    for (let index = to - 1; index >= from; index--) {
      let row = this.drawn.get(index);
      if (!row) {
        row = this.buildRow(this.shown[index], index);
        this.drawn.set(index, row);
        this.body.insertBefore(row, next ?? [...this.drawn].reduce((found, [other, element]) => other > index && (!found || other < found[0]) ? [other, element] : found, null)?.[1] ?? null);
      }
      next = row;
    }
  }

  buildRow(segment, index) {
    const row = make("tr", { role: "row", "aria-rowindex": index + 2, "data-index": index, click: () => this.open(segment, index) },
      this.columns.map(({ key }) => this[`${key}Cell`](segment)));
    row.style.transform = `translateY(${index * this.height}px)`;
    return row;
  }

  nameCell(segment) {
    return make("td", { role: "cell", class: "name" },
      make("button", { type: "button" }, isolated(this.marked(segment.name))),
      make("p", null,
        segment.tags.slice(0, 2).map((tag) => make("span", { class: "tag", title: tag }, isolated(tag))),
        segment.tags.length > 2 && make("span", { class: "tag", title: segment.tags.slice(2).join(", ") }, `+${segment.tags.length - 2}`),
        isolated(this.snippet(segment))));
  }

  /** The text below the name: the place of the match if the name does not match, else the filters. */
  snippet(segment) {
    const texts = [segment.description, segment.text_description, segment.tags.join(", "), segment.teams.join(", "), segment.id].filter(Boolean);
    const term = this.terms.find((each) => !fold(segment.name).includes(each));
    const text = (term && texts.find((each) => fold(each).includes(term))) || segment.description || segment.text_description || "No filters in the file";
    const position = term ? text.toLowerCase().indexOf(term) : -1;
    return this.marked((position > 60 ? `…${text.slice(position - 40)}` : text).slice(0, 400));
  }

  /** Text with the words of the search marked. */
  marked(text) {
    const parts = [];
    const words = this.terms.map((term) => term.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    if (!words.length) return [text];
    let end = 0;
    for (const match of text.matchAll(new RegExp(words.join("|"), "giu"))) {
      parts.push(text.slice(end, match.index), make("mark", null, match[0]));
      end = match.index + match[0].length;
    }
    return [...parts, text.slice(end)];
  }

  sizeCell(segment) {
    const points = sizePoints(segment);
    return make("td", { role: "cell", class: "size" },
      points.length > 1 && make("svg", { class: "spark", viewBox: "0 0 84 26", preserveAspectRatio: "none", role: "img", "aria-label": `Size history: ${describeHistory(points)}` }, make("path", { d: line(points, 84, 26) })),
      make("span", null, segment.size === null ? make("span", { class: "muted" }, "unknown") : count.format(segment.size)));
  }

  dateCell(value, name) {
    return make("td", { role: "cell", class: `date ${name}` }, value === null ? make("span", { class: "muted" }, "unknown")
      : [make("span", { class: "day" }, day.format(value)), make("span", { class: "ago" }, ago(value))]);
  }

  updatedCell(segment) { return this.dateCell(segment.updated, "edited"); }
  createdCell(segment) { return this.dateCell(segment.created, "created"); }

  /** Move the keyboard to a row, and scroll to it if needed. */
  focusRow(index) {
    if (index < 0 || index >= this.visible) return;
    const top = this.body.getBoundingClientRect().top + index * this.height;
    const low = $("catalogue").querySelector(".toolbar").getBoundingClientRect().bottom + 44;
    if (top < low) scrollBy(0, top - low);
    else if (top + this.height > innerHeight) scrollBy(0, top + this.height - innerHeight + 8);
    this.draw();
    this.drawn.get(index)?.querySelector("button").focus({ preventScroll: true });
  }

  // ---- the details of one segment

  open(segment, index = this.shown.indexOf(segment)) {
    const panel = $("panel");
    const step = (by) => make("button", { type: "button", disabled: index < 0 || !this.shown[index + by], "aria-label": by < 0 ? "Previous segment" : "Next segment", click: () => {
      this.open(this.shown[index + by], index + by);
      panel.querySelector(`[aria-label="${by < 0 ? "Previous" : "Next"} segment"]`).focus();
    } }, by < 0 ? "↑" : "↓");
    const named = (title, ...content) => [make("h3", null, title), ...content];
    const fact = (title, value, detail) => make("div", null, make("dt", null, title), make("dd", null, value, detail && make("span", null, detail)));
    const date = (value) => value === null ? ["unknown"] : [minute.format(value), ago(value)];
    const reasons = this.reasons?.get(segment.index);
    const changes = this.changesOf?.get(segment.id);
    const sized = time(segment.estimated_size_updated_at);
    panel.replaceChildren(
      make("div", { class: "panel-top" },
        make("span", null, index < 0 ? "" : `${count.format(index + 1)} of ${count.format(this.shown.length)}`),
        step(-1), step(1), make("button", { type: "button", click: () => panel.close() }, "Close")),
      make("div", { class: "panel-body" },
        make("h2", { id: "panel-name", class: segment.name.length > 160 ? "long" : null, tabindex: -1, autofocus: true }, isolated(segment.name)),
        make("p", null, make("code", { title: "Segment API identifier; one click selects it" }, segment.id)),
        reasons && make("div", { class: "reasons" }, make("h3", null, "Why it needs attention"), make("ul", null, reasons.map(({ title, why, rows, related }) =>
          make("li", null, make("b", null, title), make("div", { class: "muted why" }, isolated(why)),
            related && rows.filter((row) => row !== segment.index).slice(0, RELATED).map((row) =>
              make("button", { type: "button", class: "link", click: () => this.open(this.segments[row]) }, isolated(this.segments[row].name))))))),
        make("dl", { class: "facts" },
          fact("Size", segment.size === null ? "unknown" : count.format(segment.size), sized && `estimated ${day.format(sized)}`),
          this.has.has("updated_at") && fact("Edited", ...date(segment.updated)),
          this.has.has("created_at") && fact("Created", ...date(segment.created)),
          this.has.has("analytics_tracking_enabled") && fact("Analytics tracking", { true: "on", false: "off" }[segment.analytics_tracking_enabled] ?? "unknown")),
        named("Filters", make("p", { class: "text filters" }, segment.description ? isolated(segment.description) : make("span", { class: "muted" }, this.has.has("description") ? "No filters" : "Not in the exported file"))),
        segment.text_description && named("Note", make("p", { class: "text" }, isolated(segment.text_description))),
        ...["tags", "teams"].flatMap((name) => segment[name].length ? named(name === "tags" ? "Tags" : "Teams", make("div", { class: "tag-list" }, segment[name].map((value) => make("span", { class: "tag" }, isolated(value))))) : []),
        changes && named("Changes", make("ul", { class: "changes" }, changes.map((change) => this.changeItem(change, false)))),
        historyChart(sizePoints(segment))));
    if (!panel.open) panel.showModal();
    panel.scrollTop = 0;
    panel.dataset.index = index;
    this.address(() => `#segment=${encodeURIComponent(segment.id)}`);
  }

  address(make) {
    try { history.replaceState(null, "", make()); } catch { /* a lone surrogate, or the preview of an attachment */ }
  }

  openFromAddress() {
    const [, id] = /^#segment=(.+)$/.exec(location.hash) ?? [];
    let segment;
    try { segment = id && this.rowOf.get(decodeURIComponent(id)); } catch { /* not an id that this page wrote */ }
    if (segment) this.open(segment);
  }

  csv() {
    const fields = ["id", "name", "description", "text_description", "tags", "teams", "created_at", "updated_at", "estimated_size", "estimated_size_updated_at", "analytics_tracking_enabled"]
      .filter((name) => this.has.has(name));
    const cell = (value) => {
      if (value === null || value === undefined) return "";
      if (typeof value !== "string" && !Array.isArray(value)) return String(value);
      const text = Array.isArray(value) ? value.join(", ") : value;
      return `"${(FORMULA.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
    };
    const lines = [fields.join(","), ...this.shown.map((segment) => fields.map((name) => cell(segment[name])).join(","))];
    // The byte order mark makes spreadsheets read UTF-8.
    const url = URL.createObjectURL(new Blob(["\ufeff", lines.join("\r\n"), "\r\n"], { type: "text/csv" }));
    make("a", { href: url, download: "segments.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }

  // ---- events

  listen() {
    const search = $("search");
    search.addEventListener("input", () => {
      clearTimeout(this.waiting);
      this.waiting = setTimeout(() => this.applySearch(), 60);
      $("table").setAttribute("aria-busy", "true");
    });
    $("sort").addEventListener("change", ({ target }) => { const [key, descending] = target.value.split(" "); this.setSort(key, descending === "true"); });
    $("csv").addEventListener("click", () => this.csv());
    addEventListener("scroll", () => this.draw(), { passive: true });
    addEventListener("resize", () => this.redraw());
    addEventListener("keydown", (event) => this.key(event));
    addEventListener("beforeprint", () => this.drawAll());
    addEventListener("afterprint", () => this.redraw());

    const wide = matchMedia("(min-width: 861px)");
    const adapt = () => { $("facets").open = wide.matches; };
    wide.addEventListener("change", adapt);
    adapt();

    const panel = $("panel");
    panel.addEventListener("click", (event) => { if (event.target === panel) panel.close(); });
    panel.addEventListener("close", () => {
      this.address(() => location.pathname + location.search);
      // The browser has given the focus back, unless the row was redrawn; a key may have moved it since.
      if (!document.activeElement.closest("tbody tr")) this.focusRow(Number(panel.dataset.index));
    });

    const system = matchMedia("(prefers-color-scheme: dark)");
    const root = document.documentElement;
    const dark = () => root.style.colorScheme ? root.style.colorScheme === "dark" : system.matches;
    const label = () => { $("theme").textContent = dark() ? "Light" : "Dark"; };
    $("theme").hidden = false;
    $("theme").addEventListener("click", () => { root.style.colorScheme = dark() ? "light" : "dark"; label(); });
    system.addEventListener("change", label);
    label();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { target, key } = event;
    const row = target.closest?.("tbody tr");
    if ($("panel").open) return;
    if (key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName)) {
      event.preventDefault();
      $("search").focus();
    } else if (row || target === $("search")) {
      if (!row) this.applySearch();
      const index = row ? Number(row.dataset.index) : -1;
      const page = Math.max(1, Math.floor((innerHeight - 160) / this.height));
      const to = { ArrowDown: index + 1, ArrowUp: index - 1, ...(row && { PageDown: Math.min(index + page, this.visible - 1), PageUp: Math.max(index - page, 0), Home: 0, End: this.visible - 1 }) }[key];
      if (to === undefined) return;
      event.preventDefault();
      if (to < 0) $("search").focus();
      else this.focusRow(to);
    }
  }

  /** Put the rows in the document for printing, where nothing scrolls. */
  drawAll() {
    this.body.replaceChildren(...this.shown.slice(0, PRINTED).map((segment, index) => this.buildRow(segment, index)));
    this.drawn.clear();
    if (this.shown.length > PRINTED) this.body.append(make("tr", { role: "row" }, make("td", { role: "cell" }, `… and ${plural(this.shown.length - PRINTED, "segment")} more, which are not printed`)));
  }
}

/** The numbers of a chart, as a table that is made when it is opened. */
function valueTable(title, columns, rows) {
  const place = make("div", { tabindex: 0, role: "region", "aria-label": title });
  const fill = () => place.hasChildNodes() || place.append(make("table", null,
    make("thead", null, make("tr", null, columns.map((column) => make("th", { scope: "col" }, column)))),
    make("tbody", null, rows.map(([first, ...rest]) => make("tr", null, make("th", { scope: "row" }, first), rest.map((value) => make("td", null, value)))))));
  return make("details", { class: "numbers", toggle: fill }, make("summary", null, title), place);
}

function historyChart(points) {
  if (points.length < 2) return null;
  const sizes = points.map((point) => point.size);
  const path = line(points, 600, 150);
  const pointer = make("line", { y1: 0, y2: 150, visibility: "hidden" });
  const [first, last] = [points[0].size, points.at(-1).size];
  const rest = `${count.format(first)} → ${count.format(last)}${first ? ` (${percent.format(last / first - 1)})` : ""}`;
  const readout = make("span", null, rest);
  const svg = make("svg", { viewBox: "0 0 600 150", preserveAspectRatio: "none", role: "img", "aria-label": `Size history: ${describeHistory(points)}`,
    pointermove: (event) => {
      const box = svg.getBoundingClientRect();
      const index = Math.max(0, Math.min(points.length - 1, Math.round((event.clientX - box.left) / box.width * (points.length - 1))));
      const x = index / (points.length - 1) * 600;
      for (const name of ["x1", "x2"]) pointer.setAttribute(name, x);
      pointer.setAttribute("visibility", "visible");
      readout.textContent = `${count.format(points[index].size)} on ${day.format(points[index].time)}`;
    },
    pointerleave: () => { pointer.setAttribute("visibility", "hidden"); readout.textContent = rest; },
  }, make("path", { class: "area", d: `${path}L600 150L0 150Z` }), make("path", { d: path }), pointer);
  return [make("h3", null, "Size history"), make("div", { class: "history" },
    make("div", { class: "axis" }, readout, make("span", null, `lowest ${count.format(Math.min(...sizes))}, highest ${count.format(Math.max(...sizes))}`)),
    svg,
    make("div", { class: "axis" }, make("span", null, day.format(points[0].time)), make("span", null, day.format(points.at(-1).time))),
    valueTable("Show the numbers", ["Day", "Size"], points.map((point) => [day.format(point.time), count.format(point.size)]).reverse()))];
}

try {
  start();
} catch (error) {
  fail("This page cannot be shown in this browser. Open it in a current version of Firefox, Chrome, Edge or Safari.");
  console.error(error);
}
