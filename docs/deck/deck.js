// Deal the content of each notebook slide on pages of 1280x720. A block (a paragraph, a list, a cell's code, a figure)
// that does not fit any more goes on to the next page; letters shrink only as far as can be read from the last row.
const WIDTH = 1200, HEIGHT = 650, GAP = 14, SMALLEST = 18, LARGEST_ZOOM = 2;
const BESIDE = 90;                     // what a figure leaves for the running heading and one line below it
const BLOCKS = ".jp-RenderedMarkdown > *, .jp-CodeCell .jp-InputArea-editor, .jp-RenderedText, .jp-RenderedImage, " +
    ".jp-RenderedHTML:not(.jp-RenderedMarkdown)";

const make = (tag, name, text = "") => Object.assign(document.createElement(tag), {className: name, textContent: text});
const room = document.body.appendChild(make("div", "room"));
const isHeading = block => /^H[1-6]$/.test(block.tagName);

function kind(block) {
    if (block.matches(".jp-InputArea-editor")) return "code";
    if (block.matches(".jp-RenderedText")) return "printed";
    if (block.matches(".jp-RenderedImage")) return "figure";
    return "text";
}

// Letters as large as width and height allow, between the style sheet's size and SMALLEST; then lines are
// wrapped, and set closer.
function fitLetters(block) {
    const part = block.querySelector("pre, table") ?? (block.matches("table") ? block : null);
    if (!part) return;
    const tooWide = () => block.scrollWidth > WIDTH || part.scrollWidth > WIDTH - 34;
    const tooTall = () => block.offsetHeight > HEIGHT;
    let size = parseFloat(getComputedStyle(part).fontSize);
    while (size > SMALLEST && (tooWide() || tooTall())) part.style.fontSize = `${size -= 1}px`;
    if (tooWide()) block.classList.add("wrap");
    if (tooTall()) block.classList.add("tight");
}

function fitFigure(block) {
    const image = block.querySelector("img");
    const zoom = Math.min(1.35, WIDTH / image.naturalWidth, (HEIGHT - BESIDE) / image.naturalHeight);
    image.style.width = `${Math.round(zoom * image.naturalWidth)}px`;
}

// A figure alone on its page, or with little else, takes the space that is left.
function growFigures(page) {
    const images = [...page.querySelectorAll(".figure img")];
    if (images.length !== 1) return;
    const [image] = images;
    room.append(page);
    const spare = HEIGHT - heightOf([...page.children].filter(part => !part.matches("aside")));
    room.removeChild(page);
    const zoom = Math.min(LARGEST_ZOOM, WIDTH / image.naturalWidth,
        parseFloat(image.style.width) / image.naturalWidth + Math.max(0, spare) / image.naturalHeight);
    image.style.width = `${Math.floor(zoom * image.naturalWidth)}px`;
}

const heightOf = blocks => blocks.reduce((sum, block) => sum + block.offsetHeight + GAP, 0);

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

// A question and its answers, a lab's picture and the line that says so, stay on one page.
const goesWith = (block, next) => next && heightOf([block, next]) - GAP <= HEIGHT
    && (next.matches(".live") || next.matches("ul") && block.textContent.startsWith("Your guess?"));

function deal(section) {
    const cellOf = new Map();
    let blocks = [...section.querySelectorAll(BLOCKS)].filter(block => !block.closest("aside.notes"));
    blocks.forEach(block => cellOf.set(block, block.closest(".fragment")));
    const notes = [...section.querySelectorAll("aside.notes")].map(aside => aside.innerHTML).join("");
    for (const block of blocks) {
        block.classList.add("block", kind(block));
        room.append(block);
        block.querySelectorAll(".anchor-link").forEach(link => link.remove());
        if (kind(block) === "figure") fitFigure(block); else fitLetters(block);
    }
    blocks = blocks.flatMap(block => splitList(block).flatMap(part => splitTable(part)).flatMap(splitText)
        .map(part => (cellOf.set(part, cellOf.get(block)), part)));
    blocks = blocks.filter(block => block.offsetHeight > 0);

    const pages = [[]];
    let heading = null;
    for (let unit = [], number = 0; number < blocks.length; unit = [], number += 1) {
        do unit.push(blocks[number]); while (goesWith(blocks[number], blocks[number + 1]) && ++number);
        const page = pages.at(-1);
        if (page.length && heightOf([...page, ...unit]) - GAP > HEIGHT) {
            const along = isHeading(page.at(-1)) && page.length > 1 ? [page.pop()] : [];   // a heading never ends a page
            const next = [...along, ...unit];
            if (!isHeading(next[0]) && heading) {
                const running = room.appendChild(make("p", "running block", heading));
                if (heightOf([running, ...next]) - GAP <= HEIGHT) next.unshift(running); else running.remove();
            }
            pages.push(next);
        } else {
            page.push(...unit);
        }
        heading = unit.findLast(isHeading)?.textContent ?? heading;
    }
    return pages.filter(page => page.length).map((page, number) => {
        const made = make("section", "page");
        const first = cellOf.get(page.find(block => !block.matches(".running")));
        let step = -1, last = first;
        for (const block of page) {
            const cell = cellOf.get(block);
            if (cell && cell !== first) {                  // what begins the page comes with it
                if (cell !== last) step += 1;
                block.classList.add("fragment");
                block.dataset.fragmentIndex = step;
            }
            last = cell;
            made.append(block);
        }
        if (notes && number === 0) made.insertAdjacentHTML("beforeend", `<aside class="notes">${notes}</aside>`);
        growFigures(made);
        return made;
    });
}

async function start() {
    await document.fonts.ready;
    await Promise.all([...document.images].map(image => image.decode()));
    for (const slide of document.querySelectorAll(".slides > section")) {
        const pages = [...slide.querySelectorAll(":scope > section")].flatMap(deal);
        slide.replaceChildren(...pages);
        if (!pages.length) slide.remove();
    }
    room.remove();
    await Reveal.initialize({width: 1280, height: 720, margin: 0, center: false, hash: true, transition: "none",
        slideNumber: "c/t", plugins: [RevealNotes]});
}

start();
