"""A public file server: the "dumbest way" to share files between hosts behind NAPTs.

Run as `file-server`. It is HTTP/1.1 (RFC 9110), for programs and for people:

    PUT /name       the body becomes the file          curl -T notes.txt http://…/
    POST /          a form's files (multipart)         what a browser sends without JavaScript
    GET /name       the file, or a range of it         curl -O, curl -C -
    GET /           the list, as a page or as JSON     curl http://…/?format=json

One idea a file: `names` (what may be a file's name), `form` (what a form calls its files),
`storage` (a file is seen whole or not at all, and the space is bounded), `conditions` (RFC
9110, section 13), then `receiving`, `sending` and `listing`, which join these to HTTP,
`connection` (an answer to every request) and `application`, which joins all of them.
"""
