//! That indexes serve the obvious shapes, and that a page is one statement whatever its size.
