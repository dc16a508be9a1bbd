"""How the things of an English text stand to each other, and where in the picture."""

from llmga.evaluation.prompt_rules import words as lexicon
from llmga.evaluation.prompt_rules.english_words import is_verb
from llmga.evaluation.prompt_rules.reading import Mention, Reading, Token


class Positions:
    """Relations between the things of a row, other things between them passed over."""

    def __init__(self, found: list[Token], result: Reading, things: frozenset[str]):
        self.found, self.result = found, result
        self.own = [each for each in result.mentions if each.thing in things and not each.negated]
        self.all = result.mentions

    def read(self) -> None:
        """Add what is said to the reading."""
        for at, token in enumerate(self.found):
            if token.kind == "rel":
                self._relation(at, token.value)
            elif token.kind == "its":
                self._its(at, token.value)
            elif token.kind == "place":
                self._place(at, token.value)

    def _sentence(self, at: int) -> int:
        return sum(token.kind == "stop" for token in self.found[:at])

    def _near(self, at: int, *, after: bool) -> list[Mention]:
        """The row's things of the sentence on one side, nearest first."""
        here = [each for each in self.own if each.sentence == self._sentence(at) and (each.start > at) == after]
        return here if after else here[::-1]

    def _relation(self, at: int, relation: str) -> None:
        target = next((each for each in self.all if each.start > at), None)
        if target is None or target.sentence != self._sentence(at):
            return
        if self.found[target.start].word in lexicon.WHOLE:
            self._place(at, relation)
        if target not in self.own:
            return
        before = [each for each in self._near(at, after=False) if each.thing != target.thing]
        after = [each for each in self._near(at, after=True) if each.thing != target.thing]
        first = self._begins_clause(at) and bool(after) and self._turned(target)
        subjects = after[:1] if first or not before else self._with_listed(before)
        self.result.relations |= {(each.thing, relation, target.thing) for each in subjects}

    def _turned(self, target: Mention) -> bool:
        """Whether what stands somewhere is named after the place: "to the left of it is a cat"."""
        following = self.found[target.end] if target.end < len(self.found) else None
        return following is not None and (following.kind in ("be", "comma") or is_verb(following.word))

    def _begins_clause(self, at: int) -> bool:
        while at > 0 and self.found[at - 1].kind == "word":  # "immediately to its right"
            at -= 1
        return at == 0 or self.found[at - 1].kind in ("stop", "comma", "and")

    def _with_listed(self, before: list[Mention]) -> list[Mention]:
        """The nearest thing, and what it is listed with: "a cat and a dog left of it"."""
        nearest, *others = before
        if (
            others
            and any(token.kind == "and" for token in self.found[others[0].end : nearest.start])
            and all(
                token.kind in ("and", "a", "the", "number", "attr")
                for token in self.found[others[0].end : nearest.start]
            )
        ):
            return [nearest, others[0]]
        return [nearest]

    def _its(self, at: int, relation: str) -> None:
        """ "a cat with a couch to its right"."""
        earlier = [each for each in self.own if each.end <= at][::-1]
        first = self._begins_clause(at)
        subjects = self._near(at, after=True)[:1] if first else earlier[:1]
        known = [each for each in earlier if subjects and each.thing != subjects[0].thing]
        if subjects and known:
            self.result.relations.add((subjects[0].thing, relation, known[0].thing))

    def _place(self, at: int, place: str) -> None:
        start = next((n for n in range(at - 1, -1, -1) if self.found[n].kind in ("stop", "comma", "and")), -1)
        before = [each for each in self._near(at, after=False) if each.start > start]
        subjects = before[:1] or self._near(at, after=True)[:1]
        self.result.places += [(each.thing, place) for each in subjects]
