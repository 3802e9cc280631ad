// The zoomable raster: recordings one above the other on a common axis of time. Without this script a still picture stands in its place.
"use strict";
document.documentElement.classList.add("js");

(() => {
  const LEFT = 40, RIGHT = 10, HEAD = 24, FOOT = 30, SHORTEST = 0.01;  // pixels; seconds
  const NO_UNIT = 65535;
  const STEPS = [1, 2, 5];

  const unpack = (text, tick) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    const n = bytes.length / 4;
    const times = [], units = [];
    let ticks = 0;
    for (let k = 0; k < n; k++) {
      ticks += view.getUint16(2 * k, true);
      const unit = view.getUint16(2 * (n + k), true);
      if (unit !== NO_UNIT) { times.push(ticks * tick); units.push(unit); }
    }
    return { times, units };
  };

  const firstFrom = (times, t) => {
    let low = 0, high = times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (times[middle] < t) low = middle + 1; else high = middle;
    }
    return low;
  };

  const niceStep = (span, wanted) => {
    const power = 10 ** Math.floor(Math.log10(span / wanted));
    for (const step of STEPS) if (span / (step * power) <= wanted) return step * power;
    return 10 * power;
  };

  const start = (figure) => {
    const data = JSON.parse(figure.querySelector("script.spikes").textContent);
    const canvas = figure.querySelector("canvas"), said = figure.querySelector("output");
    const context = canvas.getContext("2d");
    const trains = data.trials.map((trial) => trial.map((text) => unpack(text, data.tick)));
    let trial = 0, from = 0, to = data.seconds, asked = false;

    const colours = () => {
      const style = getComputedStyle(figure);
      const read = (name) => style.getPropertyValue(name).trim();
      return { ink: read("--ink"), quiet: read("--quiet"), line: read("--line"), spikes: [read("--first"), read("--second")] };
    };

    const draw = () => {
      asked = false;
      const rows = data.labels.length;
      const each = Math.max(90, Math.min(260, 9 * data.units));
      const width = canvas.clientWidth, height = rows * (HEAD + each) + FOOT;
      const ratio = window.devicePixelRatio || 1;
      canvas.style.height = height + "px";
      if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
        canvas.width = Math.round(width * ratio);
        canvas.height = Math.round(height * ratio);
      }
      const ink = colours(), inner = width - LEFT - RIGHT;
      const font = getComputedStyle(figure).fontFamily;
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      const lane = each / data.units;
      const step = niceStep(to - from, Math.max(2, inner / 90));
      const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
      data.labels.forEach((label, row) => {
        const top = row * (HEAD + each) + HEAD;
        context.textBaseline = "alphabetic";
        context.textAlign = "left";
        context.fillStyle = ink.ink;
        context.font = "600 13px " + font;
        context.fillText(label, LEFT, top - 8);
        context.strokeStyle = ink.line;
        context.lineWidth = 1;
        for (let t = Math.ceil(from / step) * step; t <= to + 1e-9; t += step) {
          const x = Math.round(LEFT + (t - from) / (to - from) * inner) + 0.5;
          context.beginPath(); context.moveTo(x, top); context.lineTo(x, top + each); context.stroke();
        }
        context.strokeRect(LEFT + 0.5, top + 0.5, inner, each);
        context.fillStyle = ink.quiet;
        context.font = "11px " + font;
        context.textAlign = "right";
        context.textBaseline = "middle";
        context.fillText("0", LEFT - 6, top + each - lane / 2);
        if (data.units > 1) context.fillText(String(data.units - 1), LEFT - 6, top + lane / 2);
        const { times, units } = trains[trial][row];
        context.fillStyle = ink.spikes[row % 2];
        const tall = Math.max(1, 0.82 * lane);
        const thick = to - from < 5 ? 1.6 : 1;
        for (let k = firstFrom(times, from); k < times.length && times[k] <= to; k++) {
          const x = LEFT + (times[k] - from) / (to - from) * inner;
          context.fillRect(x, top + each - (units[k] + 1) * lane + 0.09 * lane, thick, tall);
        }
      });
      context.fillStyle = ink.quiet;
      context.font = "11px " + font;
      context.textBaseline = "top";
      context.textAlign = "center";
      for (let t = Math.ceil(from / step) * step; t <= to + 1e-9; t += step) {
        context.fillText(t.toFixed(decimals), LEFT + (t - from) / (to - from) * inner, height - FOOT + 6);
      }
      context.textAlign = "left";
      context.fillText("s", 18, height - FOOT + 6);
      const digits = Math.max(1, decimals + 1);
      said.textContent = `${from.toFixed(digits)} to ${to.toFixed(digits)} s of ${+data.seconds.toFixed(3)} s`;
    };

    const later = () => { if (!asked) { asked = true; requestAnimationFrame(draw); } };

    const show = (first, last) => {
      const span = Math.min(data.seconds, Math.max(Math.min(SHORTEST, data.seconds), last - first));
      from = Math.max(0, Math.min(first, data.seconds - span));
      to = from + span;
      later();
    };
    const zoom = (factor, about) => show(about - (about - from) * factor, about + (to - about) * factor);
    const move = (share) => show(from + share * (to - from), to + share * (to - from));
    const timeAt = (x) => from + Math.max(0, Math.min(1, (x - LEFT) / (canvas.clientWidth - LEFT - RIGHT))) * (to - from);
    const middle = () => (from + to) / 2;
    const actions = {
      in: () => zoom(0.5, middle()), out: () => zoom(2, middle()), left: () => move(-0.5), right: () => move(0.5),
      all: () => show(0, data.seconds),
    };
    const keys = { "+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", 0: "all", Home: "all" };

    figure.querySelectorAll("button").forEach((button) => button.addEventListener("click", () => actions[button.dataset.do]()));
    const chosen = figure.querySelector("select");
    if (chosen) chosen.addEventListener("change", () => { trial = Number(chosen.value); later(); });
    canvas.addEventListener("keydown", (event) => {
      const action = keys[event.key];
      if (action && !event.ctrlKey && !event.metaKey) { event.preventDefault(); actions[action](); }
    });
    // the wheel scrolls the page unless it is clear that the raster is meant
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && document.activeElement !== canvas) return;
      event.preventDefault();
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) move(event.deltaX / canvas.clientWidth);
      else zoom(Math.exp(Math.max(-1, Math.min(1, event.deltaY / 300))), timeAt(event.offsetX));
    }, { passive: false });

    const fingers = new Map();
    canvas.addEventListener("pointerdown", (event) => {
      fingers.set(event.pointerId, event.offsetX);
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!fingers.has(event.pointerId)) return;
      const before = [...fingers.values()];
      const moved = event.offsetX - fingers.get(event.pointerId);
      fingers.set(event.pointerId, event.offsetX);
      const now = [...fingers.values()];
      if (now.length === 1) move(-moved / (canvas.clientWidth - LEFT - RIGHT));
      else if (now.length === 2) {
        const apart = Math.max(8, Math.abs(now[0] - now[1]));
        zoom(Math.max(8, Math.abs(before[0] - before[1])) / apart, timeAt((now[0] + now[1]) / 2));
      }
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));

    new ResizeObserver(later).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", later);
    draw();
  };

  document.querySelectorAll("figure.raster").forEach(start);
})();
