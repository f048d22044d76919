/**
 * Pictures of samples, from the chunks in the page. Belongs here: finding, seeking, caching.
 *
 * Each level has its own <video>, because neighbouring samples lie on different levels: with one video every
 * step would load another file. Seeks of a level run one after the other; what nobody waits for any more is
 * dropped from the queue, so that scrubbing never lags behind the pointer.
 */

/** Bytes of decoded pictures to keep: 100 strips of 1280x160. */
const CACHE_BYTES = 80_000_000;

/** How long to wait for the picture after "seeked" (see `LevelReader`). */
const PRESENT_MS = 1500;

const happens = (target, event) => new Promise((resolve) => target.addEventListener(event, resolve, { once: true }));
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The base64 text of an element that may not have been parsed yet: the page works before it is all there. */
async function embedded(id) {
  const element = document.getElementById(id);
  if (element || document.readyState !== "loading") return element?.textContent.trim() ?? null;
  await happens(document, "DOMContentLoaded");
  return document.getElementById(id)?.textContent.trim() ?? null;
}

class LevelReader {
  constructor(rateText) {
    this.period = 1 / fractionToNumber(parseFraction(rateText));
    this.video = document.createElement("video");
    this.video.muted = true;
    this.video.playsInline = true;
    this.video.preload = "auto";
    document.getElementById("decoders").append(this.video);
    this.mediaTime = NaN;
    // Only this callback tells which picture the video holds; "seeked" may come before it has changed.
    const watch = (_, metadata) => {
      this.mediaTime = metadata.mediaTime;
      this.video.requestVideoFrameCallback(watch);
    };
    this.video.requestVideoFrameCallback?.(watch);
  }

  /** The video, holding the picture of `address`. */
  async show({ level, window, seekSeconds: seconds }) {
    const name = `chunk-${level}-${window}`;
    if (name !== this.name) await this.#load(name);
    const sought = happens(this.video, "seeked");
    this.video.currentTime = seconds;
    await sought;
    const deadline = performance.now() + PRESENT_MS;
    const holds = () => this.mediaTime <= seconds && seconds < this.mediaTime + this.period;
    while (!holds() && performance.now() < deadline) await wait(2);
    return this.video;
  }

  async #load(name) {
    this.name = null;
    const text = await embedded(name);
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = URL.createObjectURL(new Blob([bytes], { type: "video/webm" }));
    this.mediaTime = NaN;
    const outcome = Promise.race([happens(this.video, "loadeddata"), happens(this.video, "error")]);
    this.video.src = this.url;
    await outcome;
    if (this.video.error) throw new Error(`${name} cannot be shown by this browser: ${this.video.error.message}`);
    this.name = name;
  }
}

class Pictures {
  /** @param {{windows: Object<string, number[]>}} meta  the windows of each level that are in the page */
  constructor(meta, rateText, warn) {
    this.rateText = rateText;
    this.warn = warn;
    this.windows = new Map(LEVELS.map((level) => [level, new Set(meta.windows[level])]));
    this.readers = new Map();
    this.queues = new Map(LEVELS.map((level) => [level, []]));
    this.busy = new Set();
    this.cache = new Map(); // in order of use, oldest first
    this.cachedBytes = 0;
  }

  has(frame) {
    const { level, window } = chunkAddress(frame, this.rateText);
    return this.windows.get(level).has(window);
  }

  /** The last sample up to `frame` whose picture is in the page, or null. */
  nearest(frame) {
    for (let step of [1, 4, 16]) {
      const candidate = frame - (frame % step);
      if (this.has(candidate)) return candidate;
    }
    const before = [...this.windows.get(16)].filter((window) => window <= frame);
    if (before.length === 0) return null;
    // The window of `frame` itself is missing: the last picture of the one before it.
    return Math.max(...before) + 16 * (WINDOW_STEPS - 1);
  }

  cached(frame) {
    const bitmap = this.cache.get(frame);
    if (bitmap) {
      this.cache.delete(frame);
      this.cache.set(frame, bitmap);
    }
    return bitmap;
  }

  /**
   * The picture as an ImageBitmap; null if `drop(lane)` came first, false if this browser cannot show it.
   * Lanes: "main" before others.
   */
  want(frame, lane) {
    const bitmap = this.cached(frame);
    if (bitmap) return Promise.resolve(bitmap);
    const address = chunkAddress(frame, this.rateText);
    return new Promise((resolve) => {
      this.queues.get(address.level).push({ frame, lane, address, resolve });
      this.#work(address.level);
    });
  }

  drop(lane) {
    for (const [level, queue] of this.queues) {
      for (const job of queue) if (job.lane === lane) job.resolve(null);
      this.queues.set(level, queue.filter((job) => job.lane !== lane));
    }
  }

  async #work(level) {
    if (this.busy.has(level)) return;
    this.busy.add(level);
    for (;;) {
      const queue = this.queues.get(level);
      if (queue.length === 0) break;
      const main = queue.findIndex((job) => job.lane === "main");
      const [job] = queue.splice(Math.max(main, 0), 1);
      job.resolve(this.cached(job.frame) ?? (await this.#decode(level, job)));
    }
    this.busy.delete(level);
  }

  async #decode(level, { frame, address }) {
    try {
      if (!this.readers.has(level)) this.readers.set(level, new LevelReader(this.rateText));
      const bitmap = await createImageBitmap(await this.readers.get(level).show(address));
      this.cache.set(frame, bitmap);
      this.cachedBytes += 4 * bitmap.width * bitmap.height;
      for (const [oldest, old] of this.cache) {
        if (this.cachedBytes <= CACHE_BYTES) break;
        // Not closed: a view may be about to draw it. The collector takes it.
        this.cache.delete(oldest);
        this.cachedBytes -= 4 * old.width * old.height;
      }
      return bitmap;
    } catch (error) {
      // From now on as if the page had not got it: what stands in for it is chosen and named as for those.
      this.windows.get(level).delete(address.window);
      this.complain(`that of sample ${frame}`, error);
      return false;
    }
  }

  /** Once: a browser that cannot decode one picture may not decode the other thousands. */
  complain(which, error) {
    if (!this.failed) this.warn(`This browser cannot show some pictures, first ${which}: ${error.message}`);
    this.failed = true;
  }
}

/** Draws a picture at its own size; CSS scales the canvas. */
function drawPicture(canvas, bitmap) {
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  }
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
}
