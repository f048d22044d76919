/**
 * Where a player finds a frame: which chunk, under which name, at which position, and where to seek.
 *
 * A plain ES module without dependencies or a build step; the same function as
 * `video_pipeline/captions/chunks.py` (a test compares the two, and another plays every frame in a browser).
 *
 *   import { chunkAddress } from "./chunk_address.js";
 *
 *   const { name, seekSeconds } = chunkAddress(1234, { num: 10, den: 1 });
 *   video.src = prefix + name;            // prefix: {tenant}/client/videos/{video}/chunks/{chunks}/
 *   video.currentTime = seekSeconds;      // the middle of the picture, so no rounding can miss it
 *
 * To copy the pixels, wait for requestVideoFrameCallback after "seeked": that event says that the seek is
 * done, and for a frame's time the screen (and drawImage) may still hold the picture before it.
 *
 * The pyramid holds every frame once: level 16 the frames with i % 16 == 0, level 4 those with i % 4 == 0
 * that are not on 16, level 1 the rest. A level-M chunk covers 32 M frame numbers and is named by the first.
 * To scrub at once, load level 16, then 4, then 1: that is the order of LEVELS.
 */

/** The levels, coarse to fine. */
export const LEVELS = Object.freeze([16, 4, 1]);

/** A chunk of level M covers WINDOW_STEPS * M frame numbers. */
export const WINDOW_STEPS = 32;

/**
 * The one chunk that holds a frame, and the frame's place in it.
 *
 * @param {number} frameIndex 0-based number of the sampled frame, a safe integer
 * @param {{num: number, den: number} | number | string} rate frames a second: an exact fraction
 *   (`{num: 30000, den: 1001}` or `"30000/1001"`, as frames.json writes it) or a number
 * @returns {{level: number, window: number, position: number, seekSeconds: number, name: string}}
 * @throws {RangeError} if frameIndex or rate is not what is said above
 */
export function chunkAddress(frameIndex, rate) {
  const level = levelOf(frameIndex);
  const span = WINDOW_STEPS * level;
  const rest = frameIndex % span;
  const window = frameIndex - rest;
  const position = positionAt(level, rest);
  return { level, window, position, seekSeconds: seekSeconds(position, rate), name: chunkName(level, window) };
}

/** The level (16, 4 or 1) that holds a frame. */
export function levelOf(frameIndex) {
  checkCount(frameIndex, "frame number");
  return frameIndex % 16 === 0 ? 16 : frameIndex % 4 === 0 ? 4 : 1;
}

/**
 * The time inside a chunk at which its picture `position` (0-based) is on show: (position + 1/2) / rate.
 * The numerator and the denominator are whole numbers, so the only rounding is that of one division.
 */
export function seekSeconds(position, rate) {
  checkCount(position, "position");
  const { num, den } = toFraction(rate);
  return ((2 * position + 1) * den) / (2 * num);
}

/** A chunk's name below the chunks' prefix, e.g. "modulo_4/chunk_0000000128.webm". */
export function chunkName(level, window) {
  checkWindow(level, window);
  return `modulo_${level}/chunk_${String(window).padStart(10, "0")}.webm`;
}

/** The frame numbers that a chunk holds, in order, in a video of `frameCount` sampled frames; may be empty. */
export function framesInChunk(level, window, frameCount) {
  checkWindow(level, window);
  checkCount(frameCount, "frame count");
  const stop = Math.min(window + WINDOW_STEPS * level, frameCount);
  const frames = [];
  for (let index = window; index < stop; index += level) {
    if (levelOf(index) === level) frames.push(index);
  }
  return frames;
}

/** The windows of a level that have an object, in order: those that hold at least one frame. */
export function windowsOfLevel(level, frameCount) {
  checkLevel(level);
  checkCount(frameCount, "frame count");
  const first = level === 16 ? 0 : level; // a window's first picture stands this far after its start
  const windows = [];
  for (let window = 0; window + first < frameCount; window += WINDOW_STEPS * level) windows.push(window);
  return windows;
}

function positionAt(level, rest) {
  if (level === 16) return rest / 16;
  if (level === 4) return rest / 4 - Math.floor(rest / 16) - 1;
  return rest - Math.floor(rest / 4) - 1;
}

function toFraction(rate) {
  if (typeof rate === "number") return checkFraction(rate, 1, rate);
  if (typeof rate === "string") {
    const parts = /^(\d+)(?:\/(\d+))?$/.exec(rate);
    if (parts) return checkFraction(Number(parts[1]), Number(parts[2] ?? 1), rate);
  } else if (rate && Number.isSafeInteger(rate.num) && Number.isSafeInteger(rate.den)) {
    return checkFraction(rate.num, rate.den, rate);
  }
  throw new RangeError(`not a frame rate: ${JSON.stringify(rate)}; use {num, den}, "num/den" or a number`);
}

function checkFraction(num, den, rate) {
  if (!(num > 0 && den > 0 && Number.isFinite(num) && Number.isFinite(den))) {
    throw new RangeError(`a frame rate is greater than 0 and finite, not ${JSON.stringify(rate)}`);
  }
  return { num, den };
}

function checkCount(value, what) {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new RangeError(`a ${what} is a whole number from 0, not ${value}`);
  }
}

function checkLevel(level) {
  if (!LEVELS.includes(level)) throw new RangeError(`there is no level ${level}: the levels are 16, 4 and 1`);
}

function checkWindow(level, window) {
  checkLevel(level);
  checkCount(window, "window");
  if (window % (WINDOW_STEPS * level) !== 0) {
    throw new RangeError(`no chunk at level ${level} begins at frame ${window}`);
  }
}
