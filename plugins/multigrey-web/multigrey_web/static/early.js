// Before anything is painted: with scripts, tables below charts begin closed.
document.documentElement.classList.add("js");
