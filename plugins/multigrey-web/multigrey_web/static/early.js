// Runs before the first paint: with scripts enabled, tables below charts start closed.
document.documentElement.classList.add("js");
