// Idle: the heat map, waiting beside idle, the largest blocks.

function idleView(app) {
  const box = $("heat");
  const map = board(box, "Idle accelerator-time by type, cause and hour", "heat map");
  const state = { rows: [], cursor: null, drag: null, geometry: null };

  function layout() {
    const { run, data } = app;
    const rows = [];
    run.grid.forEach((causes, t) => {
      const here = data.causes.map((cause, c) => ({ cause, c })).filter(({ cause, c }) => cause.group === "idle" && causes[c].some((v) => v > 0));
      if (!here.length) return;
      rows.push({ head: data.types[t], t });
      for (const { c } of here) rows.push({ t, c, sum: causes[c].reduce((a, b) => a + b, 0) });
    });
    state.rows = rows;
  }

  function draw() {
    const { run, data, filter } = app;
    layout();
    const size = Math.round(1.35 * rem());
    const head = Math.round(1.5 * rem());
    const left = Math.round(Math.min(11 * rem(), box.clientWidth * 0.3));
    const right = Math.round(box.clientWidth > 600 ? 5.5 * rem() : 0);
    const tops = [];
    let y = 0;
    for (const row of state.rows) {
      tops.push(y);
      y += row.head !== undefined ? head : size;
    }
    const height = y + head;
    const width = Math.max(10, box.clientWidth - left - right);
    state.geometry = { left, width, tops, size, head, height };
    map.canvas.dataset.rows = String(state.rows.filter((r) => r.head === undefined).length);
    map.paint(Math.max(height, 2 * head), (pen, all, _, c) => {
      if (!state.rows.length) {
        pen.fillStyle = c.soft;
        pen.fillText("No accelerator was idle.", 4, head);
        return;
      }
      const step = width / run.bins;
      const [first, last] = binRange(app);
      state.rows.forEach((row, i) => {
        const top = tops[i];
        if (row.head !== undefined) {
          pen.fillStyle = filter.type === null || filter.type === row.t ? c.ink : c.faint;
          pen.textAlign = "left";
          pen.font = `600 ${map.font + 1}px system-ui, sans-serif`;
          pen.fillText(cut(pen, row.head, left + width * 0.6), 0, top + head / 2 + 2);
          pen.font = `${map.font}px system-ui, sans-serif`;
          return;
        }
        const on = (filter.type === null || filter.type === row.t) && (filter.cause === null || filter.cause === row.c);
        const cause = data.causes[row.c].name;
        pen.fillStyle = on ? c.soft : c.faint;
        pen.textAlign = "left";
        pen.fillText(cut(pen, cause, left - 14), 10, top + size / 2);
        pen.fillStyle = c.grid;
        pen.fillRect(left, top + 1, width, size - 2);
        const values = run.grid[row.t][row.c];
        const most = data.capacity[row.t] * run.bin * run.tick_s;
        pen.fillStyle = c[cause];
        for (let b = 0; b < run.bins; b++) {
          if (!values[b]) continue;
          const inside = filter.from === null || (b >= first && b < last);
          pen.globalAlpha = (0.12 + 0.88 * Math.sqrt(Math.min(1, values[b] / most))) * (on && inside ? 1 : 0.22);
          pen.fillRect(left + b * step, top + 1, Math.max(1, step - (step > 5 ? 1 : 0)), size - 2);
        }
        pen.globalAlpha = 1;
        if (right) {
          pen.fillStyle = c.soft;
          pen.textAlign = "right";
          pen.fillText(hours(row.sum), left + width + right, top + size / 2);
        }
      });
      timeAxis(pen, c, { left, width, y: y + head / 2, from: 0, to: run.ledger_end, tick: run.tick_s, font: map.font });
      if (filter.from !== null) {
        pen.strokeStyle = c.accent;
        pen.lineWidth = 2;
        pen.strokeRect(left + first * step, 1, (last - first) * step, y - 2);
      }
      const at = state.cursor;
      if (at && state.rows[at.row] && state.rows[at.row].head === undefined) {
        pen.strokeStyle = c.mark;
        pen.lineWidth = 2;
        pen.strokeRect(left + at.bin * step, tops[at.row] + 1, Math.max(2, step), size - 2);
      }
    });
  }

  function find(x, y) {
    const { left, width, tops, size, head } = state.geometry;
    const row = state.rows.findIndex((r, i) => y >= tops[i] && y < tops[i] + (r.head !== undefined ? head : size));
    const bin = Math.min(app.run.bins - 1, Math.max(0, Math.floor(((x - left) / width) * app.run.bins)));
    return { row, bin, label: x < left };
  }

  function describe({ row, bin }) {
    const { run, data } = app;
    const r = state.rows[row];
    if (!r || r.head !== undefined) return "";
    const value = run.grid[r.t][r.c][bin];
    const seconds = Math.min(run.bin, run.ledger_end - bin * run.bin) * run.tick_s;
    const cause = data.causes[r.c];
    return `${data.types[r.t]}, ${cause.name}, ${moment(bin * run.bin * run.tick_s)}: ${hours(value)}, on average ${number(value / seconds)} of ${data.capacity[r.t]} accelerators. What removes it: ${cause.remedy}.`;
  }

  function pick(from, to) {
    const { run, filter } = app;
    const r = state.rows[from.row];
    if (!r) return;
    if (r.head !== undefined) return app.set({ type: filter.type === r.t && filter.cause === null ? null : r.t, cause: null });
    if (from.label) return app.set({ type: r.t, cause: r.c });
    const low = Math.min(from.bin, to.bin);
    const high = Math.max(from.bin, to.bin) + 1;
    const same = filter.type === r.t && filter.cause === r.c && filter.from === low * run.bin && low + 1 === high;
    if (same) return app.set({ type: null, cause: null, from: null, to: null });
    return app.set({ type: r.t, cause: r.c, from: low * run.bin, to: Math.min(run.ledger_end, high * run.bin) });
  }

  const canvas = map.canvas;
  canvas.addEventListener("pointerdown", (event) => {
    if (!app.run) return;
    state.drag = find(...map.at(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!app.run || !state.geometry) return;
    const at = find(...map.at(event));
    tip(event, at.label ? "" : describe(at));
  });
  canvas.addEventListener("pointerup", (event) => {
    if (state.drag) pick(state.drag, find(...map.at(event)));
    state.drag = null;
  });
  canvas.addEventListener("pointerleave", (event) => tip(event, ""));
  canvas.addEventListener("keydown", (event) => {
    if (!app.run || !state.rows.length) return;
    const body = state.rows.map((r, i) => i).filter((i) => state.rows[i].head === undefined);
    const at = state.cursor || { row: body[0], bin: 0 };
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (move) {
      const next = body[Math.min(body.length - 1, Math.max(0, body.indexOf(at.row) + move[0]))];
      state.cursor = { row: next, bin: Math.min(app.run.bins - 1, Math.max(0, at.bin + (state.cursor ? move[1] : 0))) };
    } else if (event.key === "Enter" || event.key === " ") {
      state.cursor = at;
      pick(at, at);
    } else if (event.key === "Escape") {
      app.set({ type: null, cause: null, from: null, to: null });
    } else return;
    event.preventDefault();
    draw();
    const text = describe(state.cursor || at);
    $("heat-now").textContent = text;
    say(text);
  });

  return {
    section: "idle",
    update() {
      if (!app.run) return;
      const width = app.run.bin * app.run.tick_s;
      for (const name of document.querySelectorAll(".bin-name")) name.textContent = width === 3600 ? "hour" : `${duration(width)} steps`;
      draw();
      queueChart(app);
      blocksTable(app);
    },
    redraw: draw,
  };
}

// Accelerators asked for by waiting jobs (line) beside idle accelerators (area), over time.
function queueChart(app) {
  const { run, data, filter } = app;
  const width = 1000;
  const height = 200;
  const seconds = (b) => Math.max(1e-9, Math.min(run.bin, run.ledger_end - b * run.bin)) * run.tick_s;
  const idle = Array.from({ length: run.bins }, (_, b) => {
    let sum = 0;
    run.grid.forEach((causes, t) => {
      if (filter.type !== null && filter.type !== t) return;
      data.causes.forEach((cause, c) => {
        if (cause.group === "idle" && (filter.cause === null || filter.cause === c)) sum += causes[c][b];
      });
    });
    return sum / seconds(b);
  });
  const asked = run.queue.accelerators;
  const capacity = filter.type === null ? data.capacity.reduce((a, b) => a + b, 0) : data.capacity[filter.type];
  const top = niceTop(Math.max(...idle, ...asked, 1));
  const x = (tick) => (tick / run.ledger_end) * width;
  const y = (v) => height - (v / top) * height;
  const stairs = (values) => values.map((v, b) => `${b ? "L" : "M"}${x(b * run.bin).toFixed(1)},${y(v).toFixed(1)} L${x(Math.min(run.ledger_end, (b + 1) * run.bin)).toFixed(1)},${y(v).toFixed(1)}`).join(" ");
  const scaling = { "vector-effect": "non-scaling-stroke" };
  const parts = [0, 0.5, 1].map((f) => svg("line", { x1: 0, x2: width, y1: y(f * top), y2: y(f * top), stroke: "var(--line)", ...scaling }));
  if (capacity <= top) parts.push(svg("line", { x1: 0, x2: width, y1: y(capacity), y2: y(capacity), stroke: "var(--faint)", "stroke-dasharray": "4 4", ...scaling }));
  parts.push(svg("path", { d: `${stairs(idle)} L${width},${height} L0,${height} Z`, fill: "var(--shape)", opacity: 0.45 }));
  parts.push(svg("path", { d: stairs(asked), fill: "none", stroke: "var(--k0)", "stroke-width": 2, ...scaling }));
  if (filter.from !== null) parts.push(svg("rect", { x: x(filter.from), y: 0, width: Math.max(1, x(filter.to) - x(filter.from)), height, fill: "var(--accent)", opacity: 0.14 }));
  const mean = (values) => values.reduce((a, v, b) => a + v * seconds(b), 0) / (run.ledger_end * run.tick_s);
  const label = `On average ${number(mean(asked))} accelerators are asked for by waiting jobs while ${number(mean(idle))} stand idle; scale from 0 to ${number(top)}`;
  $("queue").replaceChildren(
    plot(parts, { box: $("queue"), width, height, top, label, run, from: 0, to: run.ledger_end }),
    el("div", { class: "key" },
      el("span", {}, swatch("var(--k0)"), `asked for by waiting jobs (mean ${number(mean(asked))})`),
      el("span", {}, swatch("var(--shape)"), `idle (mean ${number(mean(idle))} of ${capacity})`),
      el("span", {}, `waiting jobs: mean ${number(mean(run.queue.jobs))}, most ${number(Math.max(...run.queue.jobs))}`)));
}

// A chart that stretches with its box, labels beside it so that they never stretch.
function plot(parts, { box, height, width, top, label, run, from, to }) {
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label, style: { height: "9rem" } }, ...parts);
  const { step, at } = timeTicks(from * run.tick_s, to * run.tick_s, Math.max(2, box.clientWidth / (5.5 * rem())));
  const ticks = at.map((t) => {
    const place = (t / run.tick_s - from) / (to - from);
    return el("span", { style: { position: "absolute", "white-space": "nowrap", left: `${100 * place}%`, transform: `translateX(${place < 0.03 ? 0 : place > 0.97 ? -100 : -50}%)` } }, clockLabel(t, step));
  });
  return el("div", { style: { display: "grid", "grid-template-columns": "minmax(2.6rem, max-content) 1fr", "column-gap": "0.5rem" } },
    el("div", { class: "small", "aria-hidden": "true", style: { display: "flex", "flex-direction": "column", "justify-content": "space-between", "text-align": "right", "line-height": "1" } },
      el("span", {}, number(top)), el("span", {}, number(top / 2)), el("span", {}, "0")),
    drawing, el("span", {}),
    el("div", { class: "small", "aria-hidden": "true", style: { position: "relative", height: "1.4rem" } }, ...ticks));
}

function blocksTable(app) {
  const { run, data, filter } = app;
  const shown = run.blocks.filter((b) =>
    (filter.type === null || b.type === filter.type) &&
    (filter.from === null || (b.start < filter.to && b.end > filter.from)) &&
    (filter.cause === null || b.causes.some(([c]) => c === filter.cause))).slice(0, 12);
  const job = (j) => el("button", { type: "button", onclick: () => app.set({ job: j }, "schedule") }, named(short(run.jobs.id[j], 40)));
  const list = (jobs) => jobs.flatMap((j, i) => (i ? [", ", job(j)] : [job(j)]));
  const rows = shown.map((b) => {
    const names = b.nodes.map((n) => data.fleet.names[n]);
    const length = (b.end - b.start) * run.tick_s;
    const sum = b.causes.reduce((a, [, s]) => a + s, 0) || 1;
    const look = () => app.set({ type: b.type, cause: null, from: b.start, to: b.end }, "schedule");
    return el("tr", {},
      el("th", { scope: "row", class: "name-cell" }, el("button", { type: "button", onclick: look }, named(data.types[b.type])),
        el("div", { class: "small" }, named(short(names.length > 1 ? `${names.length} nodes, ${names[0]} to ${names[names.length - 1]}` : names[0], 60)), el("br"), named(short(b.domain, 60)))),
      el("td", {}, moment(b.start * run.tick_s), el("div", { class: "small" }, `for ${duration(length)}`)),
      el("td", { class: "n" }, hours(b.idle_s), el("div", { class: "small" }, `mean ${number(b.idle_s / length)} idle`)),
      el("td", {}, ...b.causes.slice(0, 2).map(([c, s]) => el("div", {}, swatch(`var(--${data.causes[c].name})`), `${data.causes[c].name} ${percent(s / sum, 0)}`)),
        el("div", { class: "small" }, b.causes.length ? `removed by ${data.causes[b.causes[0][0]].remedy}` : "")),
      el("td", { class: "name-cell" }, ...(b.waiting_count ? [`${whole(b.waiting_count)} could use it: `, ...list(b.waiting.slice(0, 3)), b.waiting_count > 3 ? ", …" : ""] : ["none that may use it"])),
      el("td", { class: "name-cell" }, ...(b.before.length ? list(b.before.slice(0, 2)) : ["–"]), " → ", ...(b.after.length ? list(b.after.slice(0, 2)) : ["–"])));
  });
  $("blocks").replaceChildren(rows.length
    ? el("table", {}, el("thead", {}, el("tr", {}, ...["Where", "From", "Idle", "Why", "Jobs waiting meanwhile", "Ended before, started after"].map((h, i) => el("th", { scope: "col", class: i === 2 ? "n" : null }, h)))), el("tbody", {}, ...rows))
    : el("p", { class: "note" }, "None of the largest blocks is within the filters."));
}
