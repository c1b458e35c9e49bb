// What build_slides.py --check asks of every slide of an open deck.
() => Reveal.getSlides().map(slide => {
    const {h, v} = Reveal.getIndices(slide), scale = Reveal.getScale(), problems = [];
    Reveal.slide(h, v, 99);
    const page = document.querySelector(".slides").getBoundingClientRect();
    const edges = {left: page.left, top: page.top, right: page.left + 1280 * scale, bottom: page.top + 720 * scale};
    for (const part of slide.querySelectorAll(".block, .block *")) {
        const box = part.getBoundingClientRect();
        const cut = part.scrollWidth > part.clientWidth + 1 && getComputedStyle(part).overflowX === "hidden";
        if (box.width && (box.left < edges.left - 1 || box.right > edges.right + 1 || box.top < edges.top - 1
                          || box.bottom > edges.bottom + 1 || cut))
            problems.push(`${part.tagName.toLowerCase()} ${Math.round(box.right - edges.left)} x `
                          + `${Math.round(box.bottom - edges.top)}: ${part.innerText?.slice(0, 40) ?? "a picture"}`);
    }
    const sizes = [...slide.querySelectorAll(".block")].filter(block => block.innerText?.trim())
        .map(block => parseFloat(getComputedStyle(block.querySelector("pre") ?? block).fontSize));
    // What is taller than a slide holds is a picture of a screen, whose letters are large: three quarters of it will do.
    const zooms = [...slide.querySelectorAll(".figure img")].map(
        image => image.clientWidth / image.naturalWidth / (image.naturalHeight > 600 ? 0.75 : 1));
    const words = countWords([...slide.querySelectorAll(".block")]);         // deck.js counts as it deals
    return {slide: `${h + 1}.${v + 1}`, heading: slide.innerText.slice(0, 40), words, problems: problems.slice(0, 3),
            smallest: Math.min(99, ...sizes), zoom: Math.min(9, ...zooms)};
})
