// What a page does besides being read: the menus, a button that copies code, boxes that the keyboard can scroll.
"use strict";
const wide = matchMedia("(min-width: 90em)");
const menu = document.getElementById("menu"), pages = document.getElementById("pages");
const contents = document.querySelector("#contents details");

document.getElementById("theme").addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    remembered(theme);
    showTheme();
});
showTheme();

function openMenu(open) {
    menu.setAttribute("aria-expanded", String(open));
    pages.classList.toggle("open", open);
}
menu.addEventListener("click", () => openMenu(menu.getAttribute("aria-expanded") !== "true"));
document.addEventListener("keydown", event => {
    if (event.key === "Escape" && pages.classList.contains("open")) {
        openMenu(false);
        menu.focus();
    }
});
const current = pages.querySelector("a.current");
if (current) pages.scrollTop = current.offsetTop - pages.clientHeight / 3;

// Beside the text there is room for the list of sections only on a wide window.
const showContents = () => { if (contents) contents.open = wide.matches; };
wide.addEventListener("change", showContents);
showContents();

// What is wider than its box can be scrolled; a box that scrolls must be reachable without a mouse.
function letKeyboardScroll() {
    for (const box of document.querySelectorAll("pre, .figure, .table, .math")) {
        const scrolls = box.scrollWidth > box.clientWidth + 1;
        box.classList.toggle("scrolls", scrolls);
        if (scrolls) box.tabIndex = 0; else box.removeAttribute("tabindex");
    }
}
new ResizeObserver(letKeyboardScroll).observe(document.querySelector("article"));
document.addEventListener("toggle", letKeyboardScroll, true);

// Browsers give the clipboard to trusted pages only: those from files, from this machine, or over https.
for (const code of navigator.clipboard ? document.querySelectorAll(".cell_input .highlight") : []) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(code.querySelector("pre").innerText);
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    code.append(button);
}

// A recorded lab takes the place of its picture as soon as it comes near the window. Scripts, and not data, because
// pages that are files may fetch nothing.
function load(address) {
    return new Promise((loaded, failed) => {
        const script = Object.assign(document.createElement("script"), { src: address, onload: loaded, onerror: failed });
        document.head.append(script);
    });
}
const comesNear = new IntersectionObserver(seen => {
    for (const { target } of seen.filter(each => each.isIntersecting)) {
        comesNear.unobserve(target);
        const { folder, name } = target.dataset;
        const top = document.documentElement.dataset.content_root;
        const player = globalThis.courseLab ? null : load(`${top}_static/lab.js`);
        Promise.all([player, load(`${folder}/recording.js`)]).then(
            () => courseLab.replay(target, courseRecordings[name], folder));
    }
}, { rootMargin: "400px" });
document.querySelectorAll(".lab-recording").forEach(lab => comesNear.observe(lab));
