/**
 * The track of captions over time, and the whole video below it. Belongs here: drawing both, zoom, scroll.
 *
 * Canvases, because an hour has thousands of bars and all of them move at every step of the zoom.
 */

const BAR_COLOURS = { sure: "--sure", fair: "--fair", low: "--low" };

/** Narrowest view, in samples: a caption's boundary can then be told from the samples beside it. */
const NARROWEST = 20;

/** Steps between marked times, seconds. */
const TICKS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];

/** How sure, in the three steps that have a colour; one look must find what needs a second one. */
function sureness(certainty) {
  return certainty >= UNSURE ? "sure" : certainty >= 0.7 ? "fair" : "low";
}

class Timeline {
  constructor(review, stage) {
    this.review = review;
    this.stage = stage;
    this.track = document.getElementById("track");
    this.overview = document.getElementById("overview");
    this.total = Math.max(1, review.captions.frameCount);
    this.rate = fractionToNumber(review.captions.rate);
    // A minute at first: captions of that are wide enough to read.
    [this.from, this.to] = [0, Math.min(this.total, Math.max(NARROWEST, 60 * this.rate))];
    const style = getComputedStyle(document.documentElement);
    this.colour = (name) => style.getPropertyValue(name).trim();
    new ResizeObserver(() => this.draw()).observe(this.track);
    this.#listen();
  }

  /** Draws before the next picture on the screen, once, however often it is asked. */
  draw() {
    this.due ??= requestAnimationFrame(() => {
      this.due = undefined;
      this.#drawTrack();
      this.#drawOverview();
      this.#tellReaders();
    });
  }

  /** Turns the page so that the playhead is in view. */
  follow() {
    const { frame } = this.stage;
    const width = this.to - this.from;
    if (frame < this.from || frame >= this.to) this.#view(frame - 0.1 * width, frame + 0.9 * width);
    this.draw();
  }

  zoom(factor, around = this.stage.frame) {
    const width = Math.min(this.total, Math.max(NARROWEST, (this.to - this.from) * factor));
    const share = Math.min(1, Math.max(0, (around - this.from) / (this.to - this.from)));
    this.#view(around - share * width, around + (1 - share) * width);
  }

  whole() {
    this.#view(0, this.total);
  }

  #view(from, to) {
    const width = Math.min(this.total, Math.max(Math.min(NARROWEST, this.total), to - from));
    this.from = Math.min(Math.max(0, from), this.total - width);
    this.to = this.from + width;
    this.draw();
  }

  #prepare(canvas) {
    const { clientWidth: width, clientHeight: height } = canvas;
    const dots = devicePixelRatio;
    if (canvas.width !== Math.round(width * dots)) canvas.width = Math.round(width * dots);
    if (canvas.height !== Math.round(height * dots)) canvas.height = Math.round(height * dots);
    const context = canvas.getContext("2d");
    context.setTransform(dots, 0, 0, dots, 0, 0);
    context.clearRect(0, 0, width, height);
    return { context, width, height };
  }

  #drawTrack() {
    const { context, width, height } = this.#prepare(this.track);
    const x = (frame) => ((frame - this.from) / (this.to - this.from)) * width;
    this.#drawTicks(context, x, width, height);
    const { list, captions, selected } = this.review;
    const low = [];
    let chosen = null;
    for (let index = firstEndingAfter(list, this.from); index < list.length; index++) {
      const caption = list[index];
      if (caption.first_frame > this.to) break;
      if (caption.id === selected) chosen = caption;
      if (captions.isUncertain(caption) && !caption.reviewed) low.push(caption);
      else this.#drawBar(context, x, caption, height);
    }
    // Uncertain ones last and taller: zoomed out, where bars cover each other, they must not drown.
    for (const caption of low) this.#drawBar(context, x, caption, height);
    if (chosen) {
      const [left, right] = [x(chosen.first_frame), x(chosen.end_frame)];
      context.strokeStyle = this.colour("--ink");
      context.lineWidth = 2;
      context.strokeRect(left + 1, 23, Math.max(2, right - left - 2), height - 30);
    }
    const at = x(this.stage.frame + 0.5);
    context.fillStyle = this.colour("--playhead");
    context.fillRect(at - 1, 16, 2, height - 16);
    context.beginPath();
    context.moveTo(at - 6, 14);
    context.lineTo(at + 6, 14);
    context.lineTo(at, 22);
    context.fill();
  }

  #drawBar(context, x, caption, height) {
    const certainty = this.review.captions.certainty(caption);
    const kind = sureness(certainty);
    const marked = kind !== "sure" && !caption.reviewed;
    const [left, right] = [x(caption.first_frame), x(caption.end_frame)];
    const gap = right - left > 6 ? 1 : 0;
    const top = marked ? 24 : 30;
    context.globalAlpha = caption.reviewed ? 0.45 : 1;
    context.fillStyle = this.colour(BAR_COLOURS[kind]);
    context.fillRect(left + gap / 2, top, Math.max(2, right - left - gap), height - 8 - top);
    context.globalAlpha = 1;
    if (caption.reviewed) {
      context.fillStyle = this.colour("--done");
      context.fillRect(left + gap / 2, height - 7, Math.max(2, right - left - gap), 3);
    }
    const room = Math.min(right, x(this.to)) - Math.max(left, 0) - 10;
    if (room < 30) return;
    context.save();
    context.beginPath();
    context.rect(Math.max(left, 0) + 5, top, room, height - top);
    context.clip();
    context.fillStyle = this.colour("--on-bar");
    context.font = "13px system-ui, sans-serif";
    context.textBaseline = "middle";
    const text = (caption.text ?? "no text").replaceAll("\n", " / ");
    context.fillText(text, Math.max(left, 0) + 5, (height - 8 + 30) / 2, 4000);
    context.restore();
  }

  #drawTicks(context, x, width, height) {
    const seconds = (this.to - this.from) / this.rate;
    const step = TICKS.find((tick) => (tick / seconds) * width >= 80) ?? TICKS.at(-1);
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "top";
    const first = fractionToNumber(this.review.captions.firstPicture);
    const begin = first + this.from / this.rate;
    for (let n = Math.ceil(begin / step); n * step <= begin + seconds; n++) {
      const at = Math.round(x((n * step - first) * this.rate)) + 0.5;
      context.fillStyle = this.colour("--line");
      context.fillRect(at, 14, 1, height - 14);
      context.fillStyle = this.colour("--dim");
      const clock = clockText(fraction(BigInt(Math.round(n * step * 1000)), 1000n));
      const short = clock.replace(/^00:/, "").replace(step >= 1 ? /\.\d+$/ : /\d\d$/, "");
      if (at < width - 50) context.fillText(short, at + 3, 1);
    }
  }

  #drawOverview() {
    const { context, width, height } = this.#prepare(this.overview);
    const x = (frame) => (frame / this.total) * width;
    const { list, captions } = this.review;
    const order = [];
    for (const caption of list) {
      if (captions.isUncertain(caption) && !caption.reviewed) order.push(caption);
      else {
        context.fillStyle = this.colour(caption.reviewed ? "--done" : "--sure");
        context.globalAlpha = 0.55;
        context.fillRect(x(caption.first_frame), 6, Math.max(1, x(caption.end_frame) - x(caption.first_frame)), height - 12);
      }
    }
    context.globalAlpha = 1;
    for (const caption of order) {
      context.fillStyle = this.colour(BAR_COLOURS[sureness(captions.certainty(caption))]);
      context.fillRect(x(caption.first_frame), 3, Math.max(2, x(caption.end_frame) - x(caption.first_frame)), height - 6);
    }
    context.strokeStyle = this.colour("--ink");
    context.lineWidth = 1;
    context.strokeRect(x(this.from) + 0.5, 0.5, Math.max(4, x(this.to) - x(this.from) - 1), height - 1);
    context.fillStyle = this.colour("--playhead");
    context.fillRect(x(this.stage.frame) - 1, 0, 2, height);
  }

  #tellReaders() {
    const { frame, last } = this.stage;
    this.track.setAttribute("aria-valuemax", last);
    this.track.setAttribute("aria-valuenow", frame);
    this.track.setAttribute("aria-valuetext", `sample ${frame}, ${clockText(this.review.captions.sampleTime(frame))}`);
  }

  #listen() {
    const frameAt = (event) => {
      const box = this.track.getBoundingClientRect();
      return Math.floor(this.from + ((event.clientX - box.left) / box.width) * (this.to - this.from));
    };
    const drag = (canvas, act) => {
      canvas.addEventListener("pointerdown", (event) => {
        if (event.button !== 0) return;
        canvas.setPointerCapture(event.pointerId);
        act(event, true);
      });
      canvas.addEventListener("pointermove", (event) => {
        if (canvas.hasPointerCapture(event.pointerId)) act(event, false);
      });
    };
    drag(this.track, (event, began) => {
      const frame = frameAt(event);
      const caption = this.review.list[this.review.captions.indexAt(this.review.list, frame)];
      if (began && caption) this.review.select(caption.id);
      this.stage.go(frame);
    });
    drag(this.overview, (event) => {
      const box = this.overview.getBoundingClientRect();
      const middle = ((event.clientX - box.left) / box.width) * this.total;
      const half = (this.to - this.from) / 2;
      this.#view(middle - half, middle + half);
    });
    this.track.addEventListener("wheel", (event) => {
      event.preventDefault();
      const sideways = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
      // Lines (Firefox) are about 30 pixels.
      const turn = (sideways && event.deltaX ? event.deltaX : event.deltaY) * (event.deltaMode === 1 ? 30 : 1);
      if (!sideways) return this.zoom(Math.exp(turn / 400), frameAt(event));
      const shift = (turn / this.track.clientWidth) * (this.to - this.from);
      return this.#view(this.from + shift, this.to + shift);
    }, { passive: false });
  }
}
