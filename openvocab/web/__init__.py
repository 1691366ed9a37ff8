"""The page of `openvocab web`: drop a picture, type words, change a word, see it at once (extra `web`).

`models` knows what may be asked, `looks` what was seen and answered, `answers` puts a question to them, `panes` draws
what the browser needs; none of these knows a browser. `page` lays out the page with Gradio, `server` serves it.
"""
