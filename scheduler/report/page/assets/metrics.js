// Every figure: distributions over jobs, what else was counted, and what tenants had.

const QUANTITIES = [["jct_s", "Completion time"], ["queueing_s", "Queueing"], ["slowdown", "Slowdown"], ["finish_time_ratio", "Finish-time ratio"]];
const PERCENTS = [50, 90, 95, 99];
const OTHERS = [
  ["makespan_s", "Makespan", "s"], ["mean_tardiness_s", "Tardiness, mean", "s"], ["utilisation", "Utilised of what was up", "%"], ["goodput", "Productive", "%"],
  ["idle_fraction", "Idle", "%"], ["waste_fraction", "Waste", "%"], ["lost_accelerator_s", "Work lost", "acc-h"],
  ["unfair_fraction", "Jobs worse off than on an equal part", "%"], ["max_finish_time_ratio", "Worst finish-time ratio", ""],
  ["fairness", "Jain's index of tenants' pace", ""], ["share_fairness", "Jain's index of tenants' shares", ""],
  ["slo_attainment", "Requests served", "%"], ["preemptions", "Preemptions", ""], ["resizes", "Resizes", ""], ["moves", "Moves", ""],
  ["restarts", "Restarts after failures", ""], ["finished", "Jobs finished", ""], ["killed", "Jobs killed at their limit", ""],
  ["cancelled", "Jobs cancelled", ""], ["rejected", "Jobs rejected", ""], ["energy_j", "Energy", "MWh"], ["cost_usd", "Cost of energy", "USD"], ["carbon_g", "Carbon", "t"],
];
const SCALES = { "%": 100, "acc-h": 1 / 3600, MWh: 1 / 3.6e9, t: 1e-6 };

function metricsView(app) {
  const card = $("metrics-card");
  let stale = true;
  const show = () => {
    if (!stale || !card.open) return;
    stale = false;
    $("metrics").replaceChildren(...distributions(app.group.policies), others(app.group.policies), ...tenants(app.group));
  };
  card.addEventListener("toggle", show);
  return { section: "overview", update() { stale = true; show(); } };
}

function region(title, table) {
  return [el("h4", {}, title), el("div", { class: "scroll", role: "region", "aria-label": title, tabindex: "0" }, table)];
}

function tableOf(head, body) {
  return el("table", {}, el("thead", {}, el("tr", {}, ...head.map((h) => el("th", { scope: "col", class: h.n ? "n" : null }, h.text)))), el("tbody", {}, ...body));
}

const heads = (words, numeric) => words.map((text) => ({ text, n: numeric }));

function distributions(rows) {
  return QUANTITIES.flatMap(([name, title]) => {
    const show = name.endsWith("_s") ? duration : number;
    const all = rows.flatMap((p) => PERCENTS.map((q) => p.figures[`p${q}_${name}`][0])).filter((v) => v > 0);
    if (!all.length) return [];
    const low = Math.log(Math.min(...all)), high = Math.log(Math.max(...all));
    const x = (v) => (v > 0 && high > low ? 100 * (Math.log(v) - low) / (high - low) : 0);
    const body = rows.map((p) => {
      const at = PERCENTS.map((q) => p.figures[`p${q}_${name}`][0]);
      return el("tr", {}, el("th", { scope: "row", class: "name-cell" }, named(p.policy)), cell(mean(p.figures[`mean_${name}`], show)), ...at.map((v) => cell(show(v))), el("td", {}, strip(at.map(x), title)));
    });
    const head = [{ text: "Policy" }, ...heads(["Mean", ...PERCENTS.map((q) => `p${q}`)], true), { text: "p50 to p99, logarithmic" }];
    return region(title, tableOf(head, body));
  });
}

function mean([value, low, high], show, most = Infinity) {
  if (low === null || value === null || low === high) return show(value);
  return `${show(value)} (${show(Math.max(0, low))} to ${show(Math.min(most, high))})`;
}

function strip(at, title) {
  const line = svg("line", { x1: at[0], x2: at[3], y1: 8, y2: 8, stroke: "var(--k0)", "stroke-width": 2, "vector-effect": "non-scaling-stroke" });
  const marks = at.map((v, i) => svg("rect", { x: Math.min(98, v), y: i ? 4 : 1, width: 2, height: i ? 8 : 14, fill: "var(--k0)", opacity: i ? 0.6 : 1 }));
  return svg("svg", { viewBox: "0 0 100 16", preserveAspectRatio: "none", role: "img", "aria-label": `${title}: percentiles 50, 90, 95 and 99`, style: { "min-width": "8rem", height: "1.1rem" } }, line, ...marks);
}

function others(rows) {
  const body = OTHERS.filter(([name]) => rows.some((p) => p.figures[name][0])).map(([name, title, unit]) => {
    const show = unit === "s" ? duration : (v) => number(v === null ? null : v * (SCALES[unit] || 1));
    const clear = (p) => (p.differences[name] && p.differences[name][1] !== null && p.differences[name][3] ? " *" : "");
    const head = unit && unit !== "s" ? `${title}, ${unit}` : title;
    return el("tr", {}, el("th", { scope: "row" }, head), ...rows.map((p) => cell(mean(p.figures[name], show, unit === "%" ? 1 : Infinity) + clear(p))));
  });
  const table = tableOf([{ text: "" }, ...rows.map((p) => ({ text: named(p.policy), n: true }))], body);
  const note = rows.some((p) => p.seeds.length > 1) && rows.length > 1 ? `*: clearly other than ${rows[0].policy}, paired by seed, at 95 %` : "";
  return el("div", {}, ...region("Everything else", table), note && el("p", { class: "note" }, note));
}

function tenants({ policies: rows }) {
  const names = rows[0].tenants.map((t) => t.name);
  if (names.length < 2) return [];
  const body = names.flatMap((name, i) => rows.map((p) => {
    const t = p.tenants.find((other) => other.name === name);
    return t && el("tr", {}, el("th", { scope: "row", class: "name-cell" }, p === rows[0] ? named(name) : ""), el("td", {}, named(p.policy)), cell(number(t.weight)),
      cell(number(t.accelerator_s[0] / 3600)), cell(percent(t.share[0])), cell(percent(t.dominant_share[0])));
  })).filter(Boolean);
  const head = [{ text: "Tenant" }, { text: "Policy" }, ...heads(["Weight", "Accelerator-hours", "Share", "Dominant share over weight"], true)];
  const more = rows[0].tenant_count - names.length;
  return [...region("Tenants", tableOf(head, body)), ...(more > 0 ? [el("p", { class: "note" }, `and ${whole(more)} more`)] : [])];
}
