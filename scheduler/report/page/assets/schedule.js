// Schedule: who held what, by nested domain; bars, or shares where there are too many bars.

const MOST_BARS = 5000;
const MOST_MARKS = 1500;
const LEAST_ROW = 4;

function scheduleView(app) {
  const chart = board($("gantt"), "Schedule: nodes by time. Arrow keys move, plus and minus zoom.", "schedule");
  const state = { from: 0, to: 1, top: 0, rowsMode: "nodes", colour: "class", rows: [], hover: -1, drag: null, seen: null };
  app.gantt = state;

  // Rows in the order of nested domains; with a type chosen, only its nodes.
  function layoutRows() {
    const { fleet } = app.data;
    const keep = (n) => app.filter.type === null || fleet.types[n] === app.filter.type;
    const nodes = fleet.rows.filter(keep);
    state.rowOf = new Int32Array(fleet.names.length).fill(-1);
    if (state.rowsMode === "nodes") {
      nodes.forEach((n, i) => { state.rowOf[n] = i; });
      state.rows = nodes.map((n) => ({ name: fleet.names[n], size: fleet.sizes[n] }));
    } else {
      const level = Number(state.rowsMode);
      state.rows = [];
      for (const [name, at, first, last] of fleet.domains) {
        if (at !== level) continue;
        const members = fleet.rows.slice(first, last + 1).filter(keep);
        if (!members.length) continue;
        for (const n of members) state.rowOf[n] = state.rows.length;
        state.rows.push({ name, size: members.reduce((a, n) => a + fleet.sizes[n], 0) });
      }
    }
    state.bands = [];
    if (state.rowsMode === "nodes") {
      for (const [name, level, first, last] of fleet.domains) {
        const inside = fleet.rows.slice(first, last + 1).map((n) => state.rowOf[n]).filter((r) => r >= 0);
        if (inside.length) state.bands.push({ name, level, first: inside[0], last: inside[inside.length - 1] });
      }
    }
  }

  // Colours of bars: the seven categories with the most accelerator-time, and the others.
  function layoutColours() {
    const { bars, jobs } = app.run;
    if (state.painted === app.run && state.paintedBy === state.colour) return;
    const of = { class: jobs.class, tenant: jobs.tenant }[state.colour];
    const names = { class: jobs.classes, tenant: jobs.tenants }[state.colour];
    const sums = new Map();
    for (let i = 0; i < bars.count; i++) {
      if (bars.job[i] < 0 || !of) continue;
      const key = of[bars.job[i]];
      sums.set(key, (sums.get(key) || 0) + bars.total[i] * (bars.end[i] - bars.start[i]));
    }
    const order = [...sums].sort((a, b) => b[1] - a[1]).map(([key]) => key);
    const place = new Map(order.slice(0, 7).map((key, i) => [key, i]));
    const key = order.slice(0, 7).map((k, i) => [`k${i}`, names[k]]);
    if (order.length > 7) key.push(["k7", `${order.length - 7} others`]);
    if (state.colour === "ended") key.push(["productive", "finished"], ["reconfiguration", "stopped by the policy"], ["policy", "cut by a failure"], ["k7", "ran at the end"], ["lost", "reached its limit"]);
    if (state.colour === "rate") key.push(["productive", "at the best rate of its types"], ["communication", "slowed by the network"]);
    if (bars.job.some((j) => j < 0)) key.push(["headroom", "service replicas"]);
    if (app.run.downs.length) key.push(["down", "down"]);
    state.painted = app.run;
    state.paintedBy = state.colour;
    state.paint = (i) => {
      const j = bars.job[i];
      if (j < 0) return "headroom";
      if (of) return `k${place.get(of[j]) ?? 7}`;
      if (state.colour === "ended") return ["productive", "reconfiguration", "policy", "k7", "lost"][bars.ended[i]];
      return bars.efficiency[i] >= 97 ? "productive" : "communication";
    };
    $("gantt-key").replaceChildren(...key.map(([c, name]) => el("span", { title: name }, swatch(`var(--${c})`), named(name))));
  }

  const roomFor = () => Math.round(Math.min(Math.max(16 * rem(), innerHeight * 0.62), 40 * rem()));

  function measure() {
    const room = roomFor();
    const least = state.rowsMode === "nodes" ? LEAST_ROW : 1.4 * rem();
    const rowHeight = Math.max(least, Math.min(2.2 * rem(), room / Math.max(1, state.rows.length)));
    const total = rowHeight * state.rows.length;
    const font = 0.75 * rem();
    const levels = state.bands.length ? app.data.fleet.levels.length - 1 : 0;
    const names = rowHeight >= font ? Math.min(8 * rem(), $("gantt").clientWidth * 0.2) : 0;
    const left = Math.round(levels * 1.3 * font + names + 6);
    const height = Math.min(total, room);
    state.top = Math.max(0, Math.min(state.top, total - height));
    state.geometry = { rowHeight, left, names, height, total, band: 1.3 * font, axis: 1.8 * font, width: Math.max(10, $("gantt").clientWidth - left) };
    return state.geometry;
  }

  // Bars in view, as positions; the columns are sorted by start.
  function visible() {
    const { bars } = app.run;
    const { rowHeight, height } = state.geometry;
    const low = Math.floor(state.top / rowHeight);
    const high = Math.ceil((state.top + height) / rowHeight);
    const out = [];
    let pieces = 0;
    for (let i = 0; i < bars.count && bars.start[i] < state.to; i++) {
      if (bars.end[i] <= state.from) continue;
      let here = 0;
      for (let p = bars.first[i]; p < bars.first[i + 1]; p++) {
        const row = state.rowOf[bars.node[p]];
        if (row >= low && row <= high) here++;
      }
      if (here) {
        out.push(i);
        pieces += here;
      }
    }
    return { out, pieces };
  }

  function draw() {
    if (!app.run) return;
    layoutRows();
    layoutColours();
    const g = measure();
    const seen = visible();
    state.seen = seen;
    const binned = state.rowsMode !== "nodes" || seen.pieces > MOST_BARS;
    state.binned = binned;
    chart.paint(g.height + g.axis, (pen, width, _, c) => {
      const x = (t) => g.left + ((t - state.from) / (state.to - state.from)) * g.width;
      const ticks = timeAxis(pen, c, { left: g.left, width: g.width, y: g.height + g.axis / 2, from: state.from, to: state.to, tick: app.run.tick_s, font: chart.font });
      pen.save();
      pen.beginPath();
      pen.rect(0, 0, width, g.height);
      pen.clip();
      labels(pen, c, g);
      pen.beginPath();
      pen.rect(g.left, 0, g.width, g.height);
      pen.clip();
      pen.fillStyle = c.grid;
      for (let r = Math.floor(state.top / g.rowHeight); r < state.rows.length && r * g.rowHeight - state.top < g.height; r++) {
        pen.fillRect(g.left, r * g.rowHeight - state.top, g.width, Math.max(1, g.rowHeight - 1));
      }
      downs(pen, c, g, x);
      if (binned) shares(pen, c, g, seen.out);
      else bars(pen, c, g, x, seen.out);
      blocks(pen, c, g, x);
      mark(pen, c, g, x);
      pen.strokeStyle = c.line;
      pen.globalAlpha = 0.5;
      for (const at of ticks) pen.strokeRect(at, 0, 0, g.height);
      pen.restore();
    });
    const { run } = app;
    const many = binned ? `${whole(seen.pieces)} bars in view, drawn as shares of each row: zoom in for single bars` : `${whole(seen.pieces)} bars in view`;
    const rowsIn = Math.floor(g.height / g.rowHeight);
    const firstRow = Math.floor(state.top / g.rowHeight) + 1;
    const part = rowsIn < state.rows.length ? ` Rows ${firstRow} to ${Math.min(state.rows.length, firstRow + rowsIn)} of ${state.rows.length}: drag or use the arrow keys for the others.` : "";
    $("gantt-now").textContent = `${moment(state.from * run.tick_s)} to ${moment(state.to * run.tick_s)}; ${many}.${part}`;
    chart.canvas.dataset.bars = String(seen.pieces);
    chart.canvas.dataset.binned = String(binned);
    chart.canvas.dataset.span = `${state.from}:${state.to}`;
  }

  function labels(pen, c, g) {
    pen.textAlign = "left";
    const levels = app.data.fleet.levels.length - 1;
    for (const { name, level, first, last } of state.bands) {
      const y = first * g.rowHeight - state.top;
      const high = (last - first + 1) * g.rowHeight - 1;
      const left = (levels - level) * g.band;
      pen.fillStyle = level % 2 ? c.line : c.grid;
      pen.fillRect(left, y, g.band - 2, high);
      const from = Math.max(0, y);
      const to = Math.min(g.height, y + high);
      const text = cut(pen, name.split("/").pop(), to - from - 6);
      if (!text) continue;
      pen.save();
      pen.translate(left + g.band / 2 - 1, (from + to) / 2);
      pen.rotate(-Math.PI / 2);
      pen.textAlign = "center";
      pen.fillStyle = c.soft;
      pen.fillText(text, 0, 0);
      pen.restore();
    }
    if (!g.names) return;
    pen.textAlign = "right";
    pen.fillStyle = c.soft;
    state.rows.forEach((row, r) => {
      const y = (r + 0.5) * g.rowHeight - state.top;
      if (y > 0 && y < g.height) pen.fillText(cutFront(pen, row.name, g.names - 4), g.left - 6, y);
    });
  }

  function downs(pen, c, g, x) {
    pen.fillStyle = c.down;
    const list = app.run.downs;
    for (let i = 0; i < list.length; i += 3) {
      const row = state.rowOf[list[i]];
      if (row < 0 || state.rowsMode !== "nodes" || list[i + 1] > state.to || list[i + 1] + list[i + 2] < state.from) continue;
      pen.fillRect(x(list[i + 1]), row * g.rowHeight - state.top, Math.max(1, x(list[i + 1] + list[i + 2]) - x(list[i + 1])), Math.max(1, g.rowHeight - 1));
    }
  }

  // Rectangles of one piece: the rows of its node that it holds, runs joined.
  function piece(g, x, i, p, use) {
    const { bars } = app.run;
    const row = state.rowOf[bars.node[p]];
    if (row < 0) return;
    const rows = Math.min(30, app.data.fleet.sizes[bars.node[p]]);
    const top = row * g.rowHeight - state.top;
    const left = x(Math.max(bars.start[i], state.from));
    const wide = Math.max(0.7, x(Math.min(bars.end[i], state.to)) - left - (g.width > 600 ? 0.6 : 0));
    const step = (g.rowHeight - 1) / rows;
    const mask = bars.mask[p];
    for (let r = 0; r < rows; r++) {
      if (!(mask & (1 << r))) continue;
      let end = r + 1;
      while (end < rows && mask & (1 << end)) end++;
      use(left, top + r * step, wide, Math.max(0.8, (end - r) * step - (step > 4 ? 0.6 : 0)));
      r = end;
    }
  }

  function bars(pen, c, g, x, list) {
    const all = app.run.bars;
    const chosen = app.filter.job;
    const marks = list.length <= MOST_MARKS;
    for (const i of list) {
      const colour = c[state.paint(i)];
      pen.fillStyle = colour;
      pen.globalAlpha = chosen !== null && all.job[i] !== chosen ? 0.28 : 1;
      let high = Infinity;
      let low = -Infinity;
      for (let p = all.first[i]; p < all.first[i + 1]; p++) {
        piece(g, x, i, p, (a, b, w, h) => {
          pen.fillRect(a, b, w, h);
          high = Math.min(high, b);
          low = Math.max(low, b + h);
        });
      }
      if (marks && all.size[i] > 1 && all.start[i] >= state.from && low > high) {
        pen.fillStyle = c.mark;
        pen.globalAlpha *= 0.55;
        pen.fillRect(x(all.start[i]), high, 1, low - high);
      }
      if (all.overhead[i] && all.start[i] >= state.from) {
        const wide = x(all.start[i] + all.overhead[i]) - x(all.start[i]);
        if (wide > 1.5) {
          pen.fillStyle = c.reconfiguration;
          for (let p = all.first[i]; p < all.first[i + 1]; p++) piece(g, x, i, p, (a, b, w, h) => pen.fillRect(a, b, Math.min(w, wide), h));
        }
      }
    }
    pen.globalAlpha = 1;
  }

  function shares(pen, c, g, list) {
    const all = app.run.bars;
    const columns = Math.max(1, Math.floor(g.width / 3));
    const span = (state.to - state.from) / columns;
    const low = Math.max(0, Math.floor(state.top / g.rowHeight));
    const rows = Math.min(state.rows.length - low, Math.ceil(g.height / g.rowHeight) + 1);
    const held = new Float32Array(rows * columns);
    for (const i of list) {
      const a = (Math.max(all.start[i], state.from) - state.from) / span;
      const b = (Math.min(all.end[i], state.to) - state.from) / span;
      const last = Math.min(columns - 1, Math.floor(b));
      for (let p = all.first[i]; p < all.first[i + 1]; p++) {
        const row = state.rowOf[all.node[p]] - low;
        if (row < 0 || row >= rows) continue;
        for (let k = Math.floor(a); k <= last; k++) held[row * columns + k] += all.held[p] * (Math.min(b, k + 1) - Math.max(a, k));
      }
    }
    pen.fillStyle = c.k0;
    const wide = g.width / columns;
    for (let r = 0; r < rows; r++) {
      const size = state.rows[low + r].size;
      const y = (low + r) * g.rowHeight - state.top;
      for (let k = 0; k < columns; k++) {
        const share = held[r * columns + k] / size;
        if (share < 0.004) continue;
        pen.globalAlpha = 0.08 + 0.92 * Math.min(1, share);
        pen.fillRect(g.left + k * wide, y, wide + 0.3, Math.max(1, g.rowHeight - 1));
      }
    }
    pen.globalAlpha = 1;
  }

  // Idle blocks of the chosen cause, outlined where they lie.
  function blocks(pen, c, g, x) {
    const { cause } = app.filter;
    if (cause === null || state.rowsMode !== "nodes") return;
    pen.strokeStyle = c[app.data.causes[cause].name];
    pen.lineWidth = 1.5;
    for (const b of app.run.blocks) {
      if (!b.causes.some(([k]) => k === cause) || b.end < state.from || b.start > state.to) continue;
      for (const n of b.nodes) {
        const row = state.rowOf[n];
        if (row >= 0) pen.strokeRect(x(b.start), row * g.rowHeight - state.top, x(b.end) - x(b.start), g.rowHeight - 1);
      }
    }
  }

  // The chosen job's gang in every row it holds, joined by a line.
  function mark(pen, c, g, x) {
    const { bars: all, byJob } = app.run;
    const list = new Set(app.filter.job !== null ? byJob.get(app.filter.job) || [] : []);
    if (state.hover >= 0) list.add(state.hover);
    for (const i of list) {
      if (all.end[i] <= state.from || all.start[i] >= state.to) continue;
      let high = Infinity;
      let low = -Infinity;
      pen.lineWidth = 1.5;
      pen.strokeStyle = c.mark;
      for (let p = all.first[i]; p < all.first[i + 1]; p++) {
        piece(g, x, i, p, (a, b, w, h) => {
          if (state.binned) {
            pen.fillStyle = c[state.paint(i)];
            pen.fillRect(a, b, Math.max(2, w), Math.max(2, h));
          }
          pen.strokeRect(a, b, w, h);
          high = Math.min(high, b);
          low = Math.max(low, b + h);
        });
      }
      if (low > high) {
        pen.fillStyle = c.mark;
        pen.fillRect(x(Math.max(all.start[i], state.from)), high, 2, low - high);
      }
    }
  }

  function find(px, py) {
    const g = state.geometry;
    if (!g || px < g.left || py > g.height || state.binned) return -1;
    const tick = state.from + ((px - g.left) / g.width) * (state.to - state.from);
    const row = Math.floor((py + state.top) / g.rowHeight);
    const inRow = (py + state.top) / g.rowHeight - row;
    const { bars: all } = app.run;
    for (const i of state.seen.out) {
      if (all.start[i] > tick || all.end[i] < tick) continue;
      for (let p = all.first[i]; p < all.first[i + 1]; p++) {
        if (state.rowOf[all.node[p]] !== row) continue;
        const rows = Math.min(30, app.data.fleet.sizes[all.node[p]]);
        if (all.mask[p] & (1 << Math.min(rows - 1, Math.floor(inRow * rows)))) return i;
      }
    }
    return -1;
  }

  function describe(i) {
    const { bars: all, jobs, services, tick_s } = app.run;
    const j = all.job[i];
    const who = j < 0 ? `replica of ${services[-1 - j].name}` : `${jobs.id[j]} (${jobs.classes[jobs.class[j]]})`;
    const nodes = all.size[i] === 1 ? app.data.fleet.names[all.node[all.first[i]]] : `${all.size[i]} nodes`;
    return `${who}\n${all.total[i]} accelerators on ${nodes}\n${moment(all.start[i] * tick_s)} to ${moment(all.end[i] * tick_s)} (${duration((all.end[i] - all.start[i]) * tick_s)})`;
  }

  function zoom(factor, centre = (state.from + state.to) / 2) {
    const whole = app.run.end;
    const span = Math.min(whole, Math.max(20, (state.to - state.from) * factor));
    const share = (centre - state.from) / (state.to - state.from);
    show(centre - share * span, centre + (1 - share) * span);
  }

  function show(from, to) {
    const whole = app.run.end;
    const span = Math.min(whole, to - from);
    state.from = Math.max(0, Math.min(from, whole - span));
    state.to = state.from + span;
    draw();
  }

  function pan(dx, dy) {
    const span = state.to - state.from;
    state.top += dy;
    show(state.from + dx * span, state.to + dx * span);
  }

  const canvas = chart.canvas;
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.shiftKey) return;
    event.preventDefault();
    const g = state.geometry;
    if (event.shiftKey) return pan((event.deltaY || event.deltaX) / g.width, 0);
    const [px] = chart.at(event);
    zoom(Math.exp(event.deltaY / 300), state.from + (Math.max(0, px - g.left) / g.width) * (state.to - state.from));
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    state.drag = { x: event.clientX, y: event.clientY, from: state.from, top: state.top, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const d = state.drag;
    if (d) {
      const dx = event.clientX - d.x;
      if (Math.abs(dx) + Math.abs(event.clientY - d.y) > 4) d.moved = true;
      if (!d.moved) return;
      const span = state.to - state.from;
      state.top = d.top - (event.clientY - d.y);
      show(d.from - (dx / state.geometry.width) * span, d.from - (dx / state.geometry.width) * span + span);
      return;
    }
    if (!app.run || !state.seen) return;
    const over = find(...chart.at(event));
    tip(event, over >= 0 ? describe(over) : "");
    if (over !== state.hover) {
      state.hover = over;
      draw();
    }
  });
  canvas.addEventListener("pointerup", (event) => {
    const moved = state.drag && state.drag.moved;
    state.drag = null;
    if (moved || !app.run) return;
    const i = find(...chart.at(event));
    const j = i < 0 ? null : app.run.bars.job[i];
    app.set({ job: j === null || j < 0 || j === app.filter.job ? null : j });
  });
  canvas.addEventListener("pointercancel", () => { state.drag = null; });
  canvas.addEventListener("pointerleave", (event) => {
    tip(event, "");
    if (state.hover >= 0) {
      state.hover = -1;
      draw();
    }
  });
  canvas.addEventListener("keydown", (event) => {
    if (!app.run) return;
    const g = state.geometry;
    const act = { ArrowLeft: () => pan(-0.2, 0), ArrowRight: () => pan(0.2, 0), ArrowUp: () => pan(0, -3 * g.rowHeight), ArrowDown: () => pan(0, 3 * g.rowHeight), "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1 / 0.6), 0: () => show(0, app.run.end), Home: () => show(0, app.run.end), Escape: () => app.set({ job: null }) }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
    say($("gantt-now").textContent);
  });
  $("zoom-in").addEventListener("click", () => zoom(0.6));
  $("zoom-out").addEventListener("click", () => zoom(1 / 0.6));
  $("zoom-all").addEventListener("click", () => show(0, app.run.end));
  $("gantt-rows").addEventListener("change", (event) => { state.rowsMode = event.target.value; state.top = 0; draw(); });
  $("gantt-colour").addEventListener("change", (event) => { state.colour = event.target.value; draw(); });
  $("find").addEventListener("input", () => search());
  $("find").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && state.matches && state.matches.length) app.set({ job: state.matches[0] });
    if (event.key === "Escape") { event.target.value = ""; search(); app.set({ job: null }); }
  });

  function search() {
    const wanted = $("find").value.trim().toLowerCase();
    const { jobs } = app.run;
    state.lower = state.lowerOf === app.run ? state.lower : jobs.id.map((id) => id.toLowerCase());
    state.lowerOf = app.run;
    const matches = [];
    if (wanted) for (let j = 0; j < jobs.count; j++) if (state.lower[j].includes(wanted)) matches.push(j);
    matches.sort((a, b) => (state.lower[b] === wanted) - (state.lower[a] === wanted) || a - b);
    state.matches = matches;
    const items = matches.slice(0, 10).map((j) => el("li", {}, el("button", { type: "button", "data-job": String(j), onclick: () => app.set({ job: j }) }, named(short(jobs.id[j], 40)))));
    if (wanted) items.push(el("li", { class: "small" }, matches.length > 10 ? `and ${whole(matches.length - 10)} more` : matches.length ? "" : "no such job"));
    $("found").replaceChildren(...items);
    if (wanted) say(`${matches.length} jobs found`);
  }

  let last = {};
  return {
    section: "schedule",
    update() {
      if (!app.run) return;
      const { filter, run, data } = app;
      if (last.run !== run) {
        if (last.run === undefined && data.fleet.names.length * LEAST_ROW > roomFor() && data.fleet.levels.length > 1) state.rowsMode = "1";
        const kept = state.rowsMode;
        $("gantt-rows").replaceChildren(el("option", { value: "nodes" }, "nodes"), ...data.fleet.levels.slice(1).map((name, i) => el("option", { value: String(i + 1) }, named(name))));
        $("gantt-rows").value = kept;
        if (last.run === undefined) $("gantt-colour").replaceChildren(...[["class", "job class"], ["tenant", "tenant"], ["ended", "how it ended"], ["rate", "network loss"]].map(([v, t]) => el("option", { value: v }, t)));
        state.from = 0;
        state.to = run.end;
        state.hover = -1;
      }
      if (filter.from !== last.from || filter.to !== last.to || last.run !== run) {
        const pad = filter.from === null ? 0 : (filter.to - filter.from) * 0.5;
        const low = filter.from === null ? 0 : Math.max(0, filter.from - pad);
        state.from = low;
        state.to = filter.from === null ? run.end : Math.min(run.end, filter.to + pad);
      }
      if (filter.job !== null && (filter.job !== last.job || last.run !== run)) {
        state.rowsMode = "nodes";
        $("gantt-rows").value = "nodes";
        reveal(filter.job);
      }
      if (filter.type !== last.type) state.top = 0;
      last = { run, ...filter };
      draw();
      jobCard(app);
    },
    redraw: draw,
  };

  // Bring a job's bars into view.
  function reveal(j) {
    const list = app.run.byJob.get(j) || [];
    if (!list.length) return;
    const { bars: all } = app.run;
    const low = Math.min(...list.map((i) => all.start[i]));
    const high = Math.max(...list.map((i) => all.end[i]));
    if (low < state.from || high > state.to) {
      const pad = Math.max(20, (high - low) * 0.4);
      state.from = Math.max(0, low - pad);
      state.to = Math.min(app.run.end, high + pad);
    }
    layoutRows();
    const g = measure();
    const row = state.rowOf[all.node[all.first[list[0]]]];
    if (row * g.rowHeight < state.top || (row + 1) * g.rowHeight > state.top + g.height) state.top = row * g.rowHeight - g.height / 2;
  }
}

function jobCard(app) {
  const { run, filter, data } = app;
  const j = filter.job;
  if (j === null) return $("job-card").replaceChildren();
  const { jobs, bars } = run;
  const list = run.byJob.get(j) || [];
  const at = (tick) => moment(tick * run.tick_s);
  const ends = ["finished", "stopped by the policy", "cut by a failure", "still running at the end", "ended at its time limit"];
  const facts = [
    ["Job", named(jobs.id[j])],
    ["Class and tenant", named(`${jobs.classes[jobs.class[j]]}, ${jobs.tenants[jobs.tenant[j]]}; gang of ${jobs.gangs[jobs.class[j]].join(" or ")}`)],
    ["Released", at(jobs.release[j])],
    ["Waited first", list.length ? duration((bars.start[list[0]] - jobs.release[j]) * run.tick_s) : "never started"],
    ["Finished", jobs.end[j] >= 0 ? `${at(jobs.end[j])}, ${duration((jobs.end[j] - jobs.release[j]) * run.tick_s)} after its release` : "no"],
  ];
  const why = jobs.rejected[String(j)];
  if (why) facts.push(["Never started", named(why)]);
  list.slice(0, 12).forEach((i, k) => {
    const nodes = Array.from(bars.node.slice(bars.first[i], bars.first[i + 1]));
    const type = data.types[data.fleet.types[nodes[0]]];
    facts.push([`Allocation ${k + 1}`, named(`${at(bars.start[i])} to ${at(bars.end[i])}: ${bars.total[i]} × ${type} on ${nodes.slice(0, 6).map((n) => short(data.fleet.names[n], 30)).join(", ")}${nodes.length > 6 ? ` and ${nodes.length - 6} more` : ""}; ${ends[bars.ended[i]]}`)]);
  });
  if (list.length > 12) facts.push(["", `and ${list.length - 12} more`]);
  $("job-card").replaceChildren(el("dl", { class: "facts" }, ...facts.flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, v)])));
}
