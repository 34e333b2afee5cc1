"""The studio: portraits that turn, smile and are lit under the hand, on one page in the browser.

* `edits`: what the hand asks for, and the command line that asks for the same;
* `controls`: what a suite can be asked for; what it lacks is not shown;
* `drawing`: from what is asked to an image, whatever kind of portrait it is; without the web;
* `engine` and `subjects`: latents of a suite: embeddings, photographs, samples;
* `avatars`: those of `jaxface personalise`;
* `exports`: results with their rows, gestures as clips and as motion templates;
* `drivers`: clips and files of motion that a portrait follows;
* `front` and `beginning`: the address, the page, and what it shows until networks are loaded;
* `server` and `session`: what pages ask for, and the state of each;
* `page/`: plain HTML, CSS and JavaScript modules, served as they are.
"""
