// Deal the content of each notebook slide on pages of 1280x720. A block is a heading, a paragraph, a list, a table, a cell's
// code, printed text or a figure. A figure and the text that reads it share a page; what does not fit, or would make more
// than sixty words, goes on to the next page. Letters shrink only as far as can be read from the last row.
"use strict";
const WIDTH = 1200, HEIGHT = 650, GAP = 14, SMALLEST = 18, WORDS = 60;
const GOOD_ZOOM = 1.35, LEAST_ZOOM = 1.2, LARGEST_ZOOM = 2.2;      // figures' labels have 13 pixels: 18, 16, 29
const ENLARGED = [1.45, 1.35, 1.25, 1.15];                          // of a page without a figure
const NARROWEST = 360;                                             // of a column of text beside a figure
const BLOCKS = ".jp-RenderedMarkdown > *, .jp-CodeCell .jp-InputArea-editor, .jp-RenderedText, .jp-RenderedImage, " +
    ".jp-RenderedHTML:not(.jp-RenderedMarkdown)";

const make = (tag, name, text = "") => Object.assign(document.createElement(tag), {className: name, textContent: text});
const sourceOf = new Map();                                        // block: the notebook's cell that it comes from
const room = document.body.appendChild(make("div", "room"));
const isHeading = block => /^H[1-6]$/.test(block.tagName);
const isFigure = block => block.matches(".figure");
const isTable = block => block.matches("table") || Boolean(block.querySelector("table"));
const isText = block => block.matches(".text") && !isHeading(block) && !isTable(block);
const isQuestion = block => block.textContent.startsWith("Your guess?");
const isReading = block => block.textContent.startsWith("What you should see");
// Of text, without tables; a formula is a word, and a full stop behind it is none.
function countWords(blocks) {
    return blocks.filter(block => block.matches(".text, .running") && !isTable(block)).reduce((sum, block) => {
        const copy = block.cloneNode(true);
        copy.querySelectorAll("math").forEach(formula => formula.replaceWith(" formula "));
        return sum + copy.textContent.split(/\s+/).filter(word => /[\p{L}\p{N}]/u.test(word)).length;
    }, 0);
}
const heightOf = blocks => blocks.reduce((sum, block) => sum + block.offsetHeight + GAP, -GAP);

function kind(block) {
    if (block.matches(".jp-InputArea-editor")) return "code";
    if (block.matches(".jp-RenderedText")) return "printed";
    if (block.matches(".jp-RenderedImage")) return "figure";
    return "text";
}

// ---- blocks: of a size that a page can hold -----------------------------------------------------------------------------

// Letters as large as width and height allow, between the style sheet's size and SMALLEST; then lines are
// wrapped, and set closer.
function fitLetters(block) {
    const part = block.querySelector("pre, table") ?? (block.matches("table") ? block : null);
    if (!part) return;
    const tooWide = () => block.scrollWidth > WIDTH || part.scrollWidth > (part.matches("pre") ? part.clientWidth : WIDTH - 34);
    const tooTall = () => block.offsetHeight > HEIGHT;
    let size = parseFloat(getComputedStyle(part).fontSize);
    while (size > SMALLEST && (tooWide() || tooTall())) part.style.fontSize = `${size -= 1}px`;
    if (tooWide()) block.classList.add("wrap");
    if (tooTall()) block.classList.add("tight");
}

// Lists that are longer than a page become several lists.
function splitList(block) {
    if (!block.matches("ul, ol") || block.offsetHeight <= HEIGHT - 40) return [block];
    const parts = [];
    for (const item of [...block.children]) {
        if (!parts.length || parts.at(-1).offsetHeight + item.offsetHeight > HEIGHT - 80) {
            const part = block.cloneNode(false);
            if (block.matches("ol")) part.start = 1 + parts.reduce((sum, list) => sum + list.children.length, 0);
            block.before(part);
            parts.push(part);
        }
        parts.at(-1).append(item);
    }
    block.remove();
    return parts;
}

// Tables that are longer than a page go on in a further one with the same head, between two groups of rows, or two rows.
// The first part leaves room for the text that announces it.
function splitTable(block, spare = 130) {
    const table = part => part.matches("table") ? part : part.querySelector("table");
    const inGroups = table(block)?.tBodies.length > 1;
    const parts = part => inGroups ? table(part).tBodies : table(part)?.tBodies[0]?.rows;
    const rows = [...parts(block) ?? []];
    if (block.offsetHeight <= HEIGHT || rows.length < 2) return [block];
    const rest = block.cloneNode(true);
    while (block.offsetHeight > HEIGHT - spare && rows.length > 1) rows.pop().remove();
    for (let number = rows.length; number > 0; number -= 1) parts(rest)[0].remove();
    block.after(rest);
    return [block, ...splitTable(rest, 40)];
}

// Code and printed text that are longer than a page, with the smallest letters, go on in a further block: after an empty
// line in the lower half of the page if there is one, else after the last line that fits.
function splitText(block) {
    const pre = block.querySelector("pre");
    if (!pre || block.offsetHeight <= HEIGHT) return [block];
    block.classList.remove("tight");
    const range = document.createRange(), texts = document.createTreeWalker(pre, NodeFilter.SHOW_TEXT), cuts = [];
    range.setStart(pre, 0);
    for (let read = "", text = texts.nextNode(); text; text = texts.nextNode())
        for (const [offset, letter] of [...text.data].entries()) {
            read += letter;
            if (letter !== "\n") continue;
            range.setEnd(text, offset + 1);
            const height = range.getBoundingClientRect().height;
            if (height < HEIGHT - 40) cuts.push({text, offset: offset + 1, good: read.endsWith("\n\n") && height > HEIGHT / 2});
        }
    const cut = cuts.findLast(each => each.good) ?? cuts.at(-1);
    if (!cut) return [block];
    range.setEnd(cut.text, cut.offset);
    const head = block.cloneNode(true);
    head.querySelector("pre").replaceChildren(range.extractContents());
    block.before(head);
    return [head, ...splitText(block)];
}

// ---- pages: which blocks stand together, and how ------------------------------------------------------------------------

// How blocks can stand on a page: {zoom, beside}, its figures as large as possible, with the text below or, for a single
// figure, beside it; null if they do not fit, or if a figure would be smaller than ``least``.
function layout(blocks, least) {
    const figures = blocks.filter(isFigure), images = figures.map(figure => figure.querySelector("img"));
    if (!figures.length) return heightOf(blocks) <= HEIGHT ? {zoom: null} : null;
    const others = blocks.filter(block => !isFigure(block)), at = blocks.indexOf(figures[0]);
    const largest = Math.min(LARGEST_ZOOM, ...images.map(image => WIDTH / image.naturalWidth));
    const natural = images.reduce((sum, image) => sum + image.naturalHeight, 0);
    const rest = HEIGHT - others.reduce((sum, block) => sum + block.offsetHeight, 0) - GAP * (blocks.length - 1);
    let best = {zoom: Math.min(largest, rest / natural)};
    const reading = blocks.slice(at + 1).filter(isText), wide = others.filter(block => !reading.includes(block));
    if (reading.length && figures.length === 1) {
        const spare = HEIGHT - wide.reduce((sum, block) => sum + block.offsetHeight + GAP, 0);
        for (let width = NARROWEST; width <= 560; width += 40) {
            reading.forEach(block => { block.style.maxWidth = `${width}px`; });
            const zoom = Math.min(largest, spare / natural, (WIDTH - width - 2 * GAP) / images[0].naturalWidth);
            if (heightOf(reading) <= spare && zoom > best.zoom * (best.beside ? 1.02 : 0.98)) best = {zoom, beside: width};
            reading.forEach(block => { block.style.maxWidth = ""; });
        }
    }
    const alone = best.beside ? 0.97 * (HEIGHT - 40) / natural : Infinity;    // beside a tall figure, text costs no room
    return best.zoom >= Math.min(least, largest, alone) ? best : null;
}

const fits = (blocks, least = GOOD_ZOOM, words = WORDS) => countWords(blocks) <= words ? layout(blocks, least) : null;

// What stays together: a heading and what follows it, a figure and its reading, a question and its answers, a lab's picture
// and the line below it.
function unitAt(blocks, number, words) {
    const unit = [blocks[number]];
    const next = () => blocks[number + unit.length];
    const joins = least => next() && fits([...unit, next()], least, words);
    const goesOn = block => isHeading(block)
        || block.matches(".printed") && next() && isFigure(next()) && sourceOf.get(next()) === sourceOf.get(block);
    while (goesOn(unit.at(-1)) && joins(LEAST_ZOOM)) unit.push(next());
    if (isFigure(unit.at(-1))) {
        if (next()?.matches(".live")) unit.push(next());
        if (next()?.matches(".printed") && joins(GOOD_ZOOM)) unit.push(next());
        while (next() && isText(next()) && !isQuestion(next()) && joins(LEAST_ZOOM)) unit.push(next());
    } else if (isQuestion(unit.at(-1)) && next()?.matches("ul")) {
        unit.push(next());
    }
    return unit;
}

// The blocks of a slide on as many pages as they need; each page says under which heading it stands.
function paginate(blocks, above) {
    const pages = [];
    let heading = above, page = [];
    const turn = () => { if (page.length) pages.push(page); page = []; };
    for (let number = 0; number < blocks.length;) {
        const title = isHeading(blocks[number]) || !heading ? 0 : heading.split(/\s+/).length;
        const unit = unitAt(blocks, number, WORDS - title);
        const begins = unit.some(isQuestion) || unit[0].matches("h1, h2");
        const parted = page.some(isReading) && unit.some(isFigure);      // it would read another figure
        if (page.length && (begins || parted || page.some(isQuestion) || !fits([...page, ...unit]))) turn();
        if (!page.length && !isHeading(unit[0]) && heading) {
            const running = room.appendChild(make("p", "running block", heading));
            const titled = layout([running, ...unit], 0);                // a very tall figure needs the room itself
            if (titled && (titled.zoom ?? 1) >= 0.75) page.push(running); else running.remove();
        }
        page.push(...unit);
        heading = unit.findLast(isHeading)?.textContent ?? heading;
        number += unit.length;
    }
    turn();
    return {pages, heading};
}

// Steps in which a page appears: what begins it comes with it, then cell after cell; code before what it gives.
function setSteps(page, cellOf) {
    const coded = new Set(page.filter(block => block.matches(".code")).map(block => sourceOf.get(block)));
    const given = block => !block.matches(".code, .running") && coded.has(sourceOf.get(block));
    const first = cellOf.get(page.find(block => !block.matches(".running")));
    let step = -1, last = first;
    for (const block of page) {
        const cell = given(block) ? sourceOf.get(block) : cellOf.get(block);
        if (cell && cell !== first) {
            if (cell !== last) step += 1;
            block.classList.add("fragment");
            block.dataset.fragmentIndex = step;
        }
        last = cell;
    }
}

function fitsEnlarged(blocks, zoom, height) {
    room.style.width = `${WIDTH / zoom}px`;
    const fits = heightOf(blocks) * zoom <= height && blocks.every(block => block.scrollWidth <= WIDTH / zoom
        && [...block.querySelectorAll("pre, table")].every(part => part.scrollWidth <= WIDTH / zoom - 20));
    room.style.width = "";
    return fits;
}

// Put the blocks in place, the figure as large as there is room, and let few words be large.
function compose(page) {
    const made = make("section", "page"), figure = page.find(isFigure);
    const chosen = layout(page, 0);
    const inner = made.appendChild(make("div", "inner"));
    if (!figure) {
        made.classList.toggle("question", page.some(isQuestion));
        const enlarged = ENLARGED.find(zoom => fitsEnlarged(page, zoom, HEIGHT - (page.some(isQuestion) ? 100 : 20)));
        if (enlarged) inner.style.zoom = enlarged;
    }
    inner.append(...page);
    for (const image of chosen ? made.querySelectorAll(".figure img") : []) {
        image.style.width = `${Math.floor(chosen.zoom * image.naturalWidth)}px`;
    }
    if (chosen?.beside) {
        const pair = make("div", "pair"), text = make("div", "reading");
        text.style.width = `${chosen.beside}px`;
        figure.replaceWith(pair);
        text.append(...page.slice(page.indexOf(figure) + 1).filter(isText));
        pair.append(figure, text);
    }
    return made;
}

// The pages of one slide of the notebook, with the notes that stand beside its cells.
function deal(section, title) {
    const cellOf = new Map(), notesAfter = new Map();
    let blocks = [], last = null;
    for (const part of section.querySelectorAll(`${BLOCKS}, aside.notes`)) {
        if (part.matches("aside.notes")) notesAfter.set(last, (notesAfter.get(last) ?? "") + part.innerHTML);
        else if (!part.closest("aside.notes")) {
            blocks.push(last = part);
            cellOf.set(part, part.closest(".fragment"));
            sourceOf.set(part, part.closest(".jp-Cell"));
        }
    }
    for (const block of blocks) {
        block.classList.add("block", kind(block));
        room.append(block);
        block.querySelectorAll(".anchor-link").forEach(link => link.remove());
        if (!isFigure(block)) fitLetters(block);
    }
    blocks = blocks.flatMap(block => {
        const parts = splitList(block).flatMap(part => splitTable(part)).flatMap(splitText);
        parts.forEach(part => { cellOf.set(part, cellOf.get(block)); sourceOf.set(part, sourceOf.get(block)); });
        if (notesAfter.has(block)) notesAfter.set(parts.at(-1), notesAfter.get(block));
        return parts;
    }).filter(block => block.offsetHeight > 0);
    const {pages, heading} = paginate(blocks, title);
    const made = pages.map((page, number) => {
        setSteps(page, cellOf);
        const notes = [number === 0 ? null : undefined, ...page].map(block => notesAfter.get(block) ?? "").join("");
        const shown = compose(page);
        if (notes) shown.insertAdjacentHTML("beforeend", `<aside class="notes">${notes}</aside>`);
        return shown;
    });
    return {made, heading};
}

// A heading that would end a page stands over what comes next.
function takeHeadings(section, next) {
    const blocks = [...section.querySelectorAll(BLOCKS)].filter(block => !block.closest("aside.notes"));
    while (blocks.length && isHeading(blocks.at(-1))) next.prepend(markdown(blocks.pop()));
}

const markdown = block => {
    const cell = make("div", "jp-RenderedMarkdown");
    cell.append(block);
    return cell;
};

async function start() {
    await document.fonts.ready;
    await Promise.all([...document.images].map(image => image.decode()));
    let title = null;                                              // a lab's slide, say, belongs to the section before
    for (const slide of document.querySelectorAll(".slides > section")) {
        const sections = [...slide.querySelectorAll(":scope > section")];
        sections.slice(1).forEach((section, number) => takeHeadings(sections[number], section));
        const pages = sections.flatMap(section => {
            const {made, heading} = deal(section, title);
            title = heading;
            return made;
        });
        slide.replaceChildren(...pages);
        if (!pages.length) slide.remove();
    }
    room.remove();
    await Reveal.initialize({width: 1280, height: 720, margin: 0, center: false, hash: true, transition: "none",
        slideNumber: "c/t", plugins: [RevealNotes]});
}

start();
