"""The paper's study again, with the controls it lacks: cells, their training, what they say, and a page of it."""
