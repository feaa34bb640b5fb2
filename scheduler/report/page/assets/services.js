// Services as bands: demand, the capacity that serves, and the headroom between them.

function servicesView(app) {
  const drawn = memory();
  return {
    section: "schedule",
    update() {
      if (!app.run || drawn(app.run, app.filter.from, app.filter.to, innerWidth)) return;
      $("services").replaceChildren(...app.run.services.map((s) => serviceCard(app, s)));
    },
  };
}

function serviceCard(app, s) {
  const { run, filter } = app;
  const width = 1000;
  const height = 160;
  const top = niceTop(Math.max(...s.demand, ...s.coming, 1e-9));
  const x = (tick) => (tick / run.end) * width;
  const y = (v) => height - (v / top) * height;
  const stairs = (values, back = false) => {
    const points = values.map((v, i) => [x(s.at[i]), x(i + 1 < s.at.length ? s.at[i + 1] : run.end), y(v)]);
    const pairs = back ? points.reverse().flatMap(([a, b, h]) => [[b, h], [a, h]]) : points.flatMap(([a, b, h]) => [[a, h], [b, h]]);
    return pairs.map(([a, b]) => `${a.toFixed(1)},${b.toFixed(1)}`).join(" L");
  };
  const served = s.demand.map((d, i) => Math.min(d, s.ready[i]));
  const fixed = { "vector-effect": "non-scaling-stroke" };
  const parts = [0, 0.5, 1].map((f) => svg("line", { x1: 0, x2: width, y1: y(f * top), y2: y(f * top), stroke: "var(--line)", ...fixed }));
  parts.push(
    svg("path", { d: `M${stairs(s.coming)} L${stairs(s.ready, true)} Z`, fill: "var(--reconfiguration)", opacity: 0.4 }),
    svg("path", { d: `M${stairs(s.ready)} L${stairs(served, true)} Z`, fill: "var(--headroom)", opacity: 0.6 }),
    svg("path", { d: `M${stairs(served)} L${width},${height} L0,${height} Z`, fill: "var(--productive)", opacity: 0.55 }),
    svg("path", { d: `M${stairs(s.demand)} L${stairs(served, true)} Z`, fill: "var(--policy)" }),
    svg("path", { d: `M${stairs(s.demand)}`, fill: "none", stroke: "var(--ink)", "stroke-width": 1.5, ...fixed }));
  if (filter.from !== null) parts.push(svg("rect", { x: x(filter.from), y: 0, width: Math.max(1, x(filter.to) - x(filter.from)), height, fill: "var(--accent)", opacity: 0.14 }));
  const share = s.demanded ? s.served / s.demanded : NaN;
  const label = `Service ${s.name}: ${percent(share, 2)} of the requests served, most demand ${number(Math.max(...s.demand))} requests/s, most capacity ${number(Math.max(...s.ready))} requests/s`;
  return el("div", { class: "card" },
    el("h3", {}, "Service ", named(s.name)),
    el("p", { class: "note" }, `${percent(share, 2)} of ${whole(s.demanded)} requests served in time; requests per second.`),
    plot(parts, { box: $("services"), width, height, top, label, run, from: 0, to: run.end }),
    el("div", { class: "key" },
      el("span", {}, swatch("var(--ink)"), "demand"), el("span", {}, swatch("var(--productive)"), "served"),
      el("span", {}, swatch("var(--headroom)"), "headroom"), el("span", {}, swatch("var(--reconfiguration)"), "loading"),
      el("span", {}, swatch("var(--policy)"), "not served")));
}
