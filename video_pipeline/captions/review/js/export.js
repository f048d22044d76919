/** What leaves the page: SubRip, WebVTT and captions.json. Belongs here: text of files, no downloads. */

/** Blank lines end a cue in both formats, so they cannot be part of its text. */
function cueLines(caption) {
  return (caption.text ?? "").split(/\r\n|\r|\n/).map((line) => line.trim()).filter((line) => line !== "");
}

/** The captions that subtitle files can hold: those with text. */
function withText(list) {
  return list.filter((caption) => cueLines(caption).length > 0);
}

function cues(list, mark) {
  return withText(list).map((caption) => {
    const [start, end] = [caption.start, caption.end].map(({ exact }) => clockText(parseFraction(exact), mark));
    return { times: `${start} --> ${end}`, lines: cueLines(caption) };
  });
}

function toSrt(list) {
  return cues(list, ",").map(({ times, lines }, index) => `${index + 1}\n${times}\n${lines.join("\n")}\n`).join("\n");
}

function toVtt(list) {
  const escape = (line) => line.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const blocks = cues(list, ".").map(
    ({ times, lines }, index) => `${index + 1}\n${times}\n${lines.map(escape).join("\n")}\n`,
  );
  return ["WEBVTT\n", ...blocks].join("\n");
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
