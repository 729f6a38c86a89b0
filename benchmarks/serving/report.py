"""The tables of the benchmark of predictions, and what is wanted beside what was measured."""

import statistics
from collections import defaultdict

from serving.limits import Bare, peak_flops
from serving.loads import Figures, bodies
from serving.servers import LEAN, LEAN_ALL, OURS

LIT = "LitServe"
FASTER_THAN_LEAN, FASTER_THAN_LIT, AS_QUICK = 1.25, 1.5, 1.1
DELAYED_ACK = 0.04  # s that the other side may wait before it acknowledges a part of an answer

Cell = tuple[str, int]  # which request, how many clients


class Results:
    """What each server did with each request and number of clients, round by round."""

    def __init__(self) -> None:
        self._runs: dict[Cell, dict[str, list[Figures]]] = defaultdict(lambda: defaultdict(list))

    def add(self, cell: Cell, server: str, figures: Figures) -> None:
        self._runs[cell][server].append(figures)

    def cells(self) -> list[Cell]:
        return list(self._runs)

    def servers(self, cell: Cell) -> list[str]:
        return list(self._runs[cell])

    def middle(self, cell: Cell, server: str) -> Figures:
        """Medians over the rounds; faults are added up."""
        runs = self._runs[cell][server]
        found = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        return {**found, "faults": sum(run["faults"] for run in runs)}

    def ratio(self, cell: Cell, figure: str, peer: str) -> float:
        """Ours over the peer's, the median of the rounds: neighbours in time are compared."""
        ours, theirs = self._runs[cell][OURS], self._runs[cell][peer]
        return statistics.median(one[figure] / other[figure] for one, other in zip(ours, theirs, strict=True))

    def best(self, cell: Cell, figure: str, peers: list[str]) -> str:
        """Of these peers, as far as they were measured, the one to beat: the highest rate, the lowest latency."""
        figures = {peer: self.middle(cell, peer)[figure] for peer in peers if peer in self._runs[cell]}
        return (max if figure == "rate" else min)(figures, key=lambda peer: figures[peer])


def show_table(results: Results, chosen: dict[Cell, str]) -> None:
    """One line for each server under each load; `chosen` are the configurations of LitServe that were fastest."""
    header = ("req/s", "p50 ms", "p99 ms", "CPU ms", "wrk ms", "faults", "ours is")
    print(f"\n{'request':16}{'clients':>7}  {'server':27}" + "{:>7}{:>8}{:>8}{:>8}{:>8}{:>8}{:>9}".format(*header))
    for kind, clients in results.cells():
        cell = (kind, clients)
        for name in results.servers(cell):
            row, shown = results.middle(cell, name), chosen[cell] if name == LIT else name
            figures = f"{row['rate']:7.0f}{1e3 * row['p50']:8.1f}{1e3 * row['p99']:8.1f}{row['cpu']:8.2f}"
            ratio = "" if name == OURS else f"{results.ratio(cell, 'rate', name):8.2f}x"
            print(f"{kind:16}{clients:7}  {shown:27}{figures}{row['own']:8.3f}{row['faults']:8.0f}{ratio:>9}")
    print("CPU ms: of a request in all processes of the server; wrk ms: in the clients, which share the cores with it.")


def show_limits(results: Results) -> None:
    """The least that a request can cost, beside what it costs."""
    peak = peak_flops()
    print(f"\none thread multiplies matrices with {peak / 1e9:.0f} GFLOP/s in FP32; ms of a request on it:")
    print(f"{'request':16}{'MFLOP':>8}{'at peak':>9}{'bare pass':>11}{'of 16 in one':>14}{'CPU of ours':>13}")
    for kind, body in bodies().items():
        bare = Bare(body)
        costs = [results.middle(cell, OURS)["cpu"] for cell in results.cells() if cell[0] == kind]
        floor, alone, batched = 1e3 * bare.operations() / peak, 1e3 * bare.alone(), 1e3 * bare.batched()
        figures = f"{bare.operations() / 1e6:8.0f}{floor:9.2f}{alone:11.2f}{batched:14.2f}{min(costs):13.2f}"
        print(f"{kind:16}{figures}")


def show_goals(results: Results) -> None:
    """Each goal, what was measured, and whether that meets it; the peer is the best one under that load."""
    print(f"\n{'goal':66}{'wanted':>9}{'measured':>10}")
    for kind, clients in results.cells():
        cell = (kind, clients)
        if clients == 1:
            peer = results.best(cell, "p50", [LEAN, LEAN_ALL])
            show_goal(f"{kind}, 1 client: p50 / {peer}", results.ratio(cell, "p50", peer), most=AS_QUICK)
            continue
        if clients == 16:
            peer = results.best(cell, "rate", [LEAN, LEAN_ALL])
            many = f"{kind}, 16 clients: requests a second / {peer}"
            show_goal(many, results.ratio(cell, "rate", peer), least=FASTER_THAN_LEAN)
        if LIT in results.servers(cell):
            many = f"{kind}, {clients} clients: requests a second / {LIT}"
            show_goal(many, results.ratio(cell, "rate", LIT), least=FASTER_THAN_LIT)
        peer = results.best(cell, "p99", [LEAN, LEAN_ALL, LIT])
        show_goal(f"{kind}, {clients} clients: p99 / {peer}", results.ratio(cell, "p99", peer), most=1.0)
    show_goal("faults", sum(results.middle(cell, OURS)["faults"] for cell in results.cells()), most=0.0)


def show_goal(goal: str, measured: float, *, most: float | None = None, least: float | None = None) -> None:
    """One line: wanted, measured, met or missed."""
    met = measured <= most if most is not None else least is not None and measured >= least
    wanted = f"<= {most:g}" if most is not None else f">= {least:g}"
    print(f"{goal:66}{wanted:>9}{measured:10.2f}  {'met' if met else 'missed'}")
