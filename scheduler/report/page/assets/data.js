// The packed data: inflated and read, then the columns of a run unrolled when it is looked at.

async function loadData() {
  const text = document.getElementById("data").textContent.trim();
  const bytes = Uint8Array.fromBase64
    ? Uint8Array.fromBase64(text)
    : Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

function running(deltas) {
  const out = new Int32Array(deltas.length);
  let sum = 0;
  for (let i = 0; i < deltas.length; i++) out[i] = sum += deltas[i];
  return out;
}

// Bars sorted by start; one piece per bar and node, with the accelerators' rows in that node.
function unrollBars(bars, sizes) {
  const count = bars.job.length;
  const start = running(bars.start);
  const end = new Int32Array(count);
  const first = new Int32Array(count + 1);
  for (let i = 0; i < count; i++) {
    end[i] = start[i] + bars.length[i];
    first[i + 1] = first[i] + bars.size[i];
  }
  const pieces = first[count];
  const node = new Int32Array(pieces);
  const held = new Float64Array(pieces);
  const mask = new Int32Array(pieces);
  const total = new Float64Array(count);
  const busy = sizes.map((size) => new Float64Array(Math.min(size, 30)));
  let at = 0;
  for (let i = 0; i < count; i++) {
    let n = 0;
    const each = bars.counts[at] < 0 ? -bars.counts[at++] : 0;
    for (let p = first[i]; p < first[i + 1]; p++) {
      n += bars.nodes[p];
      node[p] = n;
      held[p] = each || bars.counts[at++];
      total[i] += held[p];
      const rows = busy[n];
      let left = Math.max(1, Math.round((held[p] * rows.length) / sizes[n]));
      for (let r = 0; r < rows.length && left; r++) {
        if (rows[r] <= start[i]) {
          rows[r] = end[i];
          mask[p] |= 1 << r;
          left--;
        }
      }
    }
  }
  return { ...bars, count, start, end, first, node, held, mask, total };
}

function unrollJobs(jobs) {
  return { ...jobs, count: jobs.id.length, release: running(jobs.release) };
}

// A run's columns, unrolled once.
function openRun(model, index) {
  const raw = model.data.runs[index];
  if (!raw) return null;
  if (!model.open[index]) {
    const fleet = model.data.fleet;
    const bars = unrollBars(raw.bars, fleet.sizes);
    const jobs = unrollJobs(raw.jobs);
    const byJob = new Map();
    for (let i = 0; i < bars.count; i++) {
      const j = bars.job[i];
      if (!byJob.has(j)) byJob.set(j, []);
      byJob.get(j).push(i);
    }
    model.open[index] = { ...raw, bars, jobs, byJob };
  }
  return model.open[index];
}
