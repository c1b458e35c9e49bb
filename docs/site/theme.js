// Light, dark or as the system has it: set before anything is drawn, kept from page to page.
"use strict";
const THEMES = ["system", "light", "dark"];
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

// A browser may keep nothing for pages that are opened as files: the choice then holds for one page.
function remembered(theme) {
    try {
        if (theme) localStorage.setItem("course-theme", theme);
        return localStorage.getItem("course-theme");
    } catch (refused) {
        return theme;
    }
}

let theme = THEMES.includes(remembered()) ? remembered() : "system";

function showTheme() {
    document.documentElement.dataset.theme = theme === "system" ? (systemIsDark.matches ? "dark" : "light") : theme;
    const chosen = document.getElementById("chosen");
    if (chosen) chosen.textContent = theme;
}

systemIsDark.addEventListener("change", showTheme);
showTheme();
