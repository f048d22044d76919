/** The review as it stands: the list, the selection, undo and redo, and keeping it in this browser. */

const UNDO_STEPS = 500;

class Review {
  /**
   * @param {Captions} captions
   * @param {string} fingerprint of the captions in the page, so that edits never land on other captions
   * @param {(message: string) => void} warn
   */
  constructor(captions, fingerprint, warn) {
    const { tenant, video, text_recipe: recipe } = captions.file;
    this.captions = captions;
    this.key = `captions-review/${tenant}/${video}/${recipe}`;
    this.fingerprint = fingerprint;
    this.warn = warn;
    this.list = captions.original;
    this.past = [];
    this.future = [];
    this.listeners = [];
    this.#load();
    this.selected = this.list[0]?.id ?? null;
    addEventListener("pagehide", () => this.save());
    document.addEventListener("visibilitychange", () => this.save());
    addEventListener("storage", (event) => {
      if (event.key === this.key) this.warn("Another tab changed this review. Reload to see it; what you edit here replaces it.");
    });
  }

  get index() {
    return this.list.findIndex((caption) => caption.id === this.selected);
  }

  get caption() {
    return this.list[this.index] ?? null;
  }

  get left() {
    return this.list.reduce((count, caption) => count + (caption.reviewed ? 0 : 1), 0);
  }

  get isChanged() {
    const { original } = this.captions;
    return this.list.length !== original.length || this.list.some((caption, index) => caption !== original[index]);
  }

  onChange(listener) {
    this.listeners.push(listener);
  }

  select(id) {
    if (id === this.selected) return;
    this.selected = id;
    this.#tell();
  }

  /**
   * Replaces the list; `select` names the caption to select then. Edits with the same `run` (the letters of
   * one typing) are one step of undo.
   */
  edit(list, { select = this.selected, run = null } = {}) {
    if (list === this.list) return;
    if (run === null || this.past.at(-1)?.run !== run) {
      this.past.push({ list: this.list, selected: this.selected, run });
      if (this.past.length > UNDO_STEPS) this.past.shift();
    }
    this.future = [];
    this.list = list;
    this.selected = select;
    this.#changed();
  }

  /** The next letter begins a new step of undo. */
  endRun() {
    const last = this.past.at(-1);
    if (last) last.run = null;
  }

  undo() {
    return this.#travel(this.past, this.future);
  }

  redo() {
    return this.#travel(this.future, this.past);
  }

  save() {
    if (this.timer === undefined) return;
    clearTimeout(this.timer);
    this.timer = undefined;
    try {
      if (this.isChanged) localStorage.setItem(this.key, JSON.stringify(this.#packed()));
      else localStorage.removeItem(this.key);
    } catch {
      this.warn("This browser cannot keep the edits (its storage is full or closed): export before you leave.");
    }
  }

  #travel(from, to) {
    const step = from.pop();
    if (!step) return false;
    to.push({ list: this.list, selected: this.selected, run: null });
    this.list = step.list;
    this.selected = step.selected;
    this.#changed();
    return true;
  }

  #changed() {
    if (!this.list.some((caption) => caption.id === this.selected)) this.selected = this.list[0]?.id ?? null;
    // Typing must not wait for the storage, which writes to the disk.
    this.timer ??= setTimeout(() => this.save(), 300);
    this.#tell();
  }

  #tell() {
    for (const listener of this.listeners) listener();
  }

  /** Untouched captions as their number only: thousands of them would fill the storage (about 5 MB). */
  #packed() {
    const original = new Map(this.captions.original.map((caption) => [caption.id, caption]));
    const captions = this.list.map((caption) => {
      const before = original.get(caption.id);
      const same = before && !caption.edited && caption.start === before.start && caption.end === before.end;
      return same ? [caption.id, caption.reviewed ? 1 : 0] : caption;
    });
    return { fingerprint: this.fingerprint, captions };
  }

  #load() {
    let text = null;
    try {
      text = localStorage.getItem(this.key);
      if (text === null) return;
      const saved = JSON.parse(text);
      if (saved.fingerprint !== this.fingerprint) {
        this.#setAside(text);
        this.warn("The edits kept in this browser belong to other captions of this video; they were set aside.");
        return;
      }
      const original = new Map(this.captions.original.map((caption) => [caption.id, caption]));
      const list = saved.captions.map((kept) => {
        if (!Array.isArray(kept)) return kept;
        const caption = original.get(kept[0]);
        return kept[1] ? { ...caption, reviewed: true } : caption;
      });
      this.list = this.captions.check(list);
      this.restored = true;
    } catch (error) {
      this.warn(`The edits kept in this browser could not be read and were set aside: ${error.message}`);
      if (text !== null) this.#setAside(text);
    }
  }

  /** The next save replaces what lies under the key; a person's work is not thrown away for that. */
  #setAside(text) {
    try {
      localStorage.setItem(`${this.key}/other`, text);
    } catch {
      // A storage that is full or closed has been warned of, or will be at the first save.
    }
  }
}

/** FNV-1a, 32 bit: tells two files of captions apart; it guards against no one. */
function fingerprintOf(text) {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return `${text.length}-${(hash >>> 0).toString(16)}`;
}
