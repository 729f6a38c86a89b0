"""Pictures: the same one is drawn once, and accounts take turns."""

import asyncio

from service.web.pictures import Pictures
from service.web.turns import Turns


class Drawing:
    def __init__(self):
        self.drawn = []

    def draw(self, title, rows):
        self.drawn.append(title)
        return f"{title} {rows}".encode()


def test_the_same_picture_is_drawn_once_and_another_anew():
    drawing, pictures = Drawing(), Pictures(Turns(2), most=2)

    async def ask(title, rows=(1, 2)):
        return await pictures.of("one", drawing.draw, lambda *read: read, title, list(rows))

    async def all_of_it():
        first = await asyncio.gather(*(ask("a") for _ in range(5)))
        assert set(first) == {b"a [1, 2]"}
        await asyncio.gather(ask("b"), ask("c"))  # no room for the first one any more
        assert await ask("c", (3,)) == b"c [3]"
        await ask("a")

    asyncio.run(all_of_it())
    assert drawing.drawn.count("a") <= 3  # two at once, and again at the end
    assert sorted(drawing.drawn)[-3:] == ["b", "c", "c"]


def test_what_is_not_there_is_not_drawn():
    drawing, pictures = Drawing(), Pictures(Turns(1))

    def read():
        raise LookupError

    async def ask():
        results = [await asyncio.gather(pictures.of("one", drawing.draw, read), return_exceptions=True)]
        assert [type(error) for (error,) in results] == [LookupError]

    asyncio.run(ask())
    assert drawing.drawn == []
