/**
 * Captions and what an edit makes of them. Belongs here: pure functions on lists of captions.
 *
 * A caption is the object of captions.json with three more fields: `id`, which stays when numbers change,
 * `reviewed`, and `edited`, what a person did to it: {start, end, text: true, made: "inserted" | "split" |
 * "merged"}. Captions and lists are never changed in place: undo keeps old lists, and what is still the same
 * object as in the file needs no saving.
 */

/** Below this a caption counts as uncertain: calibrated, one in ten of those at 0.9 is wrong. */
const UNSURE = 0.9;

/** A new caption is two seconds long, or up to what stands in its way. */
const NEW_CAPTION_SECONDS = 2;

class EditRefused extends Error {}

class Captions {
  constructor(file) {
    this.file = file;
    this.rate = parseFraction(file.frame_rate);
    this.firstPicture = parseFraction(file.first_picture);
    this.frameCount = file.frame_count;
    this.step = fractionText(fraction(this.rate.den, this.rate.num));
    this.original = file.captions.map((caption) => ({ ...caption, id: caption.number, reviewed: false }));
    this.starts = new Map(this.original.map((caption) => [caption.first_frame, caption.start]));
    this.ends = new Map(this.original.map((caption) => [caption.end_frame, caption.end]));
    this.made = 0;
  }

  sampleTime(frame) {
    const since = fraction(BigInt(frame) * this.rate.den, this.rate.num);
    return addFractions(this.firstPicture, since);
  }

  /** How sure one can be of a caption, boundaries and text. Without a recogniser no text says anything. */
  certainty(caption) {
    const boundaries = Math.min(caption.start.confidence, caption.end.confidence);
    if (caption.text !== null) return Math.min(boundaries, caption.text_confidence ?? 1);
    const failed = caption.unread === "nothing_recognised" || caption.unread === "script_not_readable";
    return failed ? 0 : boundaries;
  }

  isUncertain(caption) {
    return this.certainty(caption) < UNSURE;
  }

  /**
   * A boundary that a person sets. Where the file has one at this sample, its exact time is used again: it
   * is the same change of the picture, and a second, rounder time for it could overlap the neighbour's.
   */
  boundaryAt(end, frame) {
    const known =
      end === "start" ? this.starts.get(frame) ?? this.ends.get(frame) : this.ends.get(frame) ?? this.starts.get(frame);
    const exact = known ? parseFraction(known.exact) : this.sampleTime(frame);
    return {
      exact: fractionText(exact),
      resolution: known?.resolution ?? this.step,
      pts: known?.pts ?? null,
      confidence: 1,
      beside: "empty",
      seconds: fractionToNumber(exact),
    };
  }

  /** The caption on screen at a sample, as an index, or -1. */
  indexAt(list, frame) {
    const index = firstEndingAfter(list, frame);
    return index < list.length && list[index].first_frame <= frame ? index : -1;
  }

  /** Moves one boundary; with `linked`, the boundary of a caption that touches it there moves along. */
  moveBoundary(list, index, end, frame, linked) {
    const caption = list[index];
    const isStart = end === "start";
    const at = isStart ? caption.first_frame : caption.end_frame;
    const beside = list[isStart ? index - 1 : index + 1];
    const touches = beside !== undefined && (isStart ? beside.end_frame : beside.first_frame) === at;
    const together = touches && linked;
    const low = isStart ? (together ? beside.first_frame + 1 : beside?.end_frame ?? 0) : caption.first_frame + 1;
    const high = isStart
      ? caption.end_frame - 1
      : together ? beside.end_frame - 1 : beside?.first_frame ?? this.frameCount;
    if (frame < low || frame > high) {
      const wall = isStart === frame < low ? (beside ? "its neighbour" : "the video's edge") : "its other boundary";
      throw new EditRefused(`The ${end} of this caption cannot go beyond ${wall}.`);
    }
    const changed = [...list];
    changed[index] = this.#withBoundary(caption, end, frame);
    if (together) {
      const other = isStart ? "end" : "start";
      changed[isStart ? index - 1 : index + 1] = this.#withBoundary(beside, other, frame);
    }
    return this.#settle(changed, index);
  }

  /** Both halves keep the text: which of the two it belongs to, only the person knows. */
  split(list, frame) {
    const index = this.indexAt(list, frame);
    if (index < 0) throw new EditRefused("There is no caption at the playhead to split.");
    const caption = list[index];
    if (frame === caption.first_frame) {
      throw new EditRefused("A caption is split before the playhead's sample: step past its first sample.");
    }
    const first = this.#withBoundary(caption, "end", frame);
    const second = this.#withBoundary(caption, "start", frame);
    const halves = [
      { ...first, reviewed: false, edited: { ...first.edited, made: "split" } },
      { ...second, id: this.#newId(), reviewed: false, ocr_calls: 0, edited: { ...second.edited, made: "split" } },
    ];
    return this.#settle(list.toSpliced(index, 1, ...halves), index, index + 1);
  }

  merge(list, index) {
    const [a, b] = [list[index], list[index + 1]];
    if (!b) throw new EditRefused("The last caption has no next one to merge with.");
    const texts = [a.text, b.text].filter((text) => text !== null);
    const text = texts.length === 2 && texts[0] === texts[1] ? texts[0] : texts.join("\n") || null;
    // A text without the recogniser's confidence is a person's: what is joined to it is theirs as well.
    const sure = [a, b].filter((caption) => caption.text !== null).map((caption) => caption.text_confidence);
    const merged = {
      ...a,
      end_frame: b.end_frame,
      end: b.end,
      text,
      text_confidence: sure.length === 0 || sure.includes(null) ? null : Math.min(...sure),
      script: a.script === b.script ? a.script : a.script === null ? b.script : b.script === null ? a.script : null,
      unread: text === null ? a.unread ?? b.unread : null,
      ocr_calls: a.ocr_calls + b.ocr_calls,
      reviewed: false,
      edited: {
        ...(a.edited?.start && { start: true }),
        ...(b.edited?.end && { end: true }),
        ...((a.edited?.text || b.edited?.text) && { text: true }),
        made: "merged",
      },
    };
    return this.#settle(list.toSpliced(index, 2, merged), index);
  }

  remove(list, index) {
    return this.#settle(list.toSpliced(index, 1), index - 1, index);
  }

  insert(list, frame) {
    const inside = this.indexAt(list, frame);
    if (inside >= 0) {
      throw new EditRefused(`The playhead stands in caption ${inside + 1}: split it instead.`);
    }
    const index = firstEndingAfter(list, frame);
    const length = Math.max(1, Math.round(NEW_CAPTION_SECONDS * fractionToNumber(this.rate)));
    const end = Math.min(frame + length, list[index]?.first_frame ?? this.frameCount, this.frameCount);
    const caption = {
      number: 0,
      first_frame: frame,
      end_frame: end,
      start: this.boundaryAt("start", frame),
      end: this.boundaryAt("end", end),
      text: null,
      text_confidence: null,
      script: null,
      unread: null,
      ocr_calls: 0,
      id: this.#newId(),
      reviewed: false,
      edited: { start: true, end: true, made: "inserted" },
    };
    return this.#settle(list.toSpliced(index, 0, caption), index);
  }

  /** A person's text has no recogniser's confidence; an empty one is no text. */
  setText(list, index, written) {
    const text = written.trim() === "" ? null : written;
    const edited = { ...list[index].edited, text: true };
    return list.with(index, { ...list[index], text, text_confidence: null, unread: null, edited });
  }

  setReviewed(list, index, reviewed) {
    return list.with(index, { ...list[index], reviewed });
  }

  /** What the schema demands of the whole list; an edit that broke it must never reach a file. */
  check(list) {
    let [frame, clock] = [0, null];
    list.forEach((caption, index) => {
      const [start, end] = [parseFraction(caption.start.exact), parseFraction(caption.end.exact)];
      const inOrder = frame <= caption.first_frame && caption.first_frame < caption.end_frame;
      const timed = compareFractions(start, end) < 0 && (clock === null || compareFractions(clock, start) <= 0);
      if (!inOrder || caption.end_frame > this.frameCount || !timed) {
        throw new EditRefused(`That would leave caption ${index + 1} empty or overlapping another.`);
      }
      [frame, clock] = [caption.end_frame, end];
    });
    return list;
  }

  #withBoundary(caption, end, frame) {
    const edited = { ...caption.edited, [end]: true };
    const key = end === "start" ? "first_frame" : "end_frame";
    return { ...caption, [key]: frame, [end]: this.boundaryAt(end, frame), edited };
  }

  /** Says anew what lies beside the boundaries around the edited places. */
  #settle(list, from, to = from) {
    for (let index = Math.max(0, from - 1); index <= Math.min(to + 1, list.length - 1); index++) {
      const caption = list[index];
      const start = edge(caption.first_frame, list[index - 1]?.end_frame, 0);
      const end = edge(caption.end_frame, list[index + 1]?.first_frame, this.frameCount);
      if (start === caption.start.beside && end === caption.end.beside) continue;
      list[index] = {
        ...caption,
        start: start === caption.start.beside ? caption.start : { ...caption.start, beside: start },
        end: end === caption.end.beside ? caption.end : { ...caption.end, beside: end },
      };
    }
    return this.check(list);
  }

  #newId() {
    this.made += 1;
    return `new-${Date.now().toString(36)}-${this.made}`;
  }
}

function edge(frame, neighbour, video) {
  return frame === neighbour ? "other_caption" : frame === video ? "video_edge" : "empty";
}

/** Index of the first caption with end_frame > frame: a binary search, as it runs at every drawn picture. */
function firstEndingAfter(list, frame) {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle].end_frame > frame) high = middle;
    else low = middle + 1;
  }
  return low;
}
