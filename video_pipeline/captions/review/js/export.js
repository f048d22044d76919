/**
 * What leaves the page: SubRip, WebVTT and captions.json. Belongs here: text of files, no downloads.
 *
 * The subtitle files are those of `captions/subtitles.py`, byte for byte (a test compares them): a caption
 * that nobody touched must not differ between what the pipeline wrote and what this page writes.
 */

/** What stands for a caption without text: a cue must not be empty, and a lost one must be seen. */
const UNREAD_CUES = {
  no_ocr: "[caption not read]",
  script_not_readable: "[caption in a script that is not read]",
  nothing_recognised: "[caption not recognised]",
};

/** The text's lines; a blank one would end the cue, so there are none. The ends are Python's `splitlines`. */
function cueLines(caption) {
  const lines = (caption.text ?? "").split(/\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/).map((line) => line.trim());
  const written = lines.filter((line) => line !== "");
  return written.length > 0 ? written : [UNREAD_CUES[caption.unread ?? "nothing_recognised"]];
}

function cues(list, mark) {
  return list.map((caption, index) => {
    const start = toMilliseconds(parseFraction(caption.start.exact));
    let end = toMilliseconds(parseFraction(caption.end.exact));
    const later = list[index + 1] && toMilliseconds(parseFraction(list[index + 1].start.exact));
    // Shorter than a millisecond: it gets one where the next leaves room.
    if (end <= start && (later === undefined || later > start)) end = start + 1n;
    const clock = (ms) => clockText(fraction(ms, 1000n), mark);
    return { number: index + 1, times: `${clock(start)} --> ${clock(end)}`, lines: cueLines(caption) };
  });
}

function toSrt(list) {
  return cues(list, ",").map(({ number, times, lines }) => `${number}\n${times}\n${lines.join("\n")}\n\n`).join("");
}

function toVtt(captions, list) {
  const { tenant, video, text_recipe: recipe, strip } = captions.file;
  const escape = (line) => line.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const middle = (strip.top + strip.height / 2) / strip.display_height;
  const place = middle > 2 / 3 ? "" : ` line:${roundHalfEven(100 * middle)}%,center`;
  const corrected = reviewNotes(captions, list).length > 0 ? ", reviewed by a person" : "";
  const blocks = cues(list, ".").map(
    ({ number, times, lines }) => `${number}\n${times}${place}\n${lines.map(escape).join("\n")}\n\n`,
  );
  return `WEBVTT\n\nNOTE ${tenant}/${video}, text recipe ${recipe}${corrected}\n\n${blocks.join("")}`;
}

/** As Python rounds: 12.5 to 12. */
function roundHalfEven(value) {
  const up = Math.round(value);
  return up - value === 0.5 && up % 2 !== 0 ? up - 1 : up;
}

/** captions.json with its own fields only; without any edit or mark it says just what the file said. */
function toJson(captions, list) {
  captions.check(list);
  const written = list.map(({ id, reviewed, edited, ...caption }, index) => ({
    ...caption,
    number: index + 1,
    confidence: Math.min(caption.start.confidence, caption.end.confidence),
  }));
  const notes = [...captions.file.notes, ...reviewNotes(captions, list)];
  return `${JSON.stringify({ ...captions.file, captions: written, notes }, null, 2)}\n`;
}

/** One line for each kind of change, with the numbers of this file: a note a caption would be thousands. */
function reviewNotes(captions, list) {
  const numbers = (chosen) => list.flatMap((caption, index) => (chosen(caption) ? [index + 1] : []));
  const lines = [
    ["boundaries set by a person, confidence 1, start of captions", numbers((c) => c.edited?.start)],
    ["boundaries set by a person, confidence 1, end of captions", numbers((c) => c.edited?.end)],
    ["text written by a person, captions", numbers((c) => c.edited?.text)],
    ["split by a person, captions", numbers((c) => c.edited?.made === "split")],
    ["merged by a person, captions", numbers((c) => c.edited?.made === "merged")],
    ["added by a person, captions", numbers((c) => c.edited?.made === "inserted")],
    ["marked as reviewed, captions", numbers((c) => c.reviewed)],
  ];
  const present = new Set(list.map((caption) => caption.id));
  const gone = captions.original.filter(({ id }) => !present.has(id)).map(({ number }) => number);
  lines.push(["deleted or merged away by a person, captions of the unreviewed file", gone]);
  return lines.filter(([, found]) => found.length > 0).map(([what, found]) => `review: ${what} ${ranges(found)}`);
}

/** 1-3, 7 */
function ranges(numbers) {
  const runs = [];
  for (const number of numbers) {
    const run = runs.at(-1);
    if (run && run[1] === number - 1) run[1] = number;
    else runs.push([number, number]);
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(", ");
}
