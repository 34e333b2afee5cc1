"""The studio: portraits that turn, smile and are lit under the hand, on one page in the browser.

* `edits`: what the hand asks for, and the command line that asks for the same;
* `controls`: what a suite can be asked for; what it lacks is not shown;
* `engine`: from what is asked to an image, without the web;
* `subjects`: who is on the page: embeddings, photographs, samples;
* `exports`: results with their rows, gestures as clips and as motion templates;
* `drivers`: clips and files of motion that a portrait follows;
* `server` and `session`: the page, its websocket, and the state of a client;
* `page/`: plain HTML, CSS and JavaScript modules, served as they are.
"""
