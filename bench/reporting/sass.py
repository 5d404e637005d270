# SPDX-License-Identifier: MIT
"""What ptxas made of the kernels, read from the text that nvdisasm prints: instructions by kind,
for each loop, and the straight-line code that does the multiply-adds of each source line."""
import collections
import dataclasses
import re
import shutil

from . import Failure, run

INSTRUCTION_BYTES = 16  # from compute capability 7.0 on

UNROLLED = 8  # as many FFMAs of one line in one block are a loop that was unrolled

# What stands before the first point of an instruction's name, by kind. Moves count as integer
# work; what is in none of the lists is "other" (constants, conversions, special registers).
KINDS = {name: kind for kind, names in {
    "ffma": "FFMA",
    "fp32": "FADD FMUL FMNMX FSEL FSET FSETP FCHK FSWZADD",
    "special": "MUFU",
    "tensor": "HMMA IMMA DMMA HGMMA IGMMA QGMMA",
    "shared_load": "LDS",
    "shared_matrix_load": "LDSM",
    "shared_store": "STS STSM",
    "shared_atomic": "ATOMS",
    "global_load": "LDG LD",
    "global_store": "STG ST",
    "global_atomic": "ATOMG ATOM RED REDG",
    "async_copy": "LDGSTS UBLKCP UTMALDG UTMASTG UTMAREDG",
    "local": "LDL STL",
    "shuffle": "SHFL",
    "vote": "VOTE VOTEU MATCH REDUX",
    "barrier": "BAR SYNCS",
    "warpgroup": "WARPGROUP",  # fences in front of wgmma, and waits for it
    "control": "BRA BRX JMP CALL RET EXIT BSSY BSYNC BREAK BMOV WARPSYNC YIELD NANOSLEEP BPT",
    "integer": "IADD IADD3 IMAD IMNMX VIMNMX IABS ISETP LEA LOP LOP3 PLOP3 SHF SHL SHR PRMT POPC "
               "FLO BREV BMSK SGXT VIADD VIADDMNMX VABSDIFF SEL MOV IDP UIADD3 UIMAD ULEA ULOP3 "
               "UPLOP3 USHF USEL UISETP UPRMT UMOV UFLO UPOPC UBREV UBMSK USGXT UIMNMX UIABS",
}.items() for name in names.split()}


@dataclasses.dataclass
class Instruction:
    guard: str  # "@P0": lanes whose P0 is set take part; "" for all
    name: str
    operands: str
    source: tuple  # (file, line) that it was written at; None where there is no line information

    @property
    def text(self):
        return " ".join(filter(None, (self.guard, self.name, self.operands)))

    @property
    def kind(self):
        return KINDS.get(self.name.partition(".")[0], "other")


@dataclasses.dataclass
class Function:
    instructions: list
    labels: dict  # label: index of the instruction behind it


LINE = re.compile(r'\s*//## File "([^"]*)", line (\d+)(.*)')
LABEL = re.compile(r"\s*([.$\w]+):\s*$")
INSTRUCTION = re.compile(r"\s*/\*[0-9a-f]{4,}\*/\s+(@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)\s*([^;]*);")


def parse(text):
    """{mangled name: Function} of what `nvdisasm -c -gi` prints (-gi: also source lines)."""
    functions, function, source, fresh = {}, None, None, False
    for line in text.splitlines():
        if line.startswith(".text."):
            function = functions[line[len(".text."):].rstrip(": ")] = Function([], {})
            source = None
        elif function is None:
            continue
        elif match := INSTRUCTION.match(line):
            function.instructions.append(
                Instruction((match[1] or "").strip(), match[2], match[3].strip(), source))
            fresh = False
        elif match := LINE.match(line):
            if not fresh:  # the first of these lines names the innermost inlined function
                source, fresh = (match[1], int(match[2])), True
        elif match := LABEL.match(line):
            function.labels[match[1]] = len(function.instructions)
    return functions


def shared_width(name):
    """Bytes per lane of LDS.128, LDS.U8, ..."""
    for part, width in (("128", 16), ("64", 8), ("8", 1), ("16", 2)):
        if re.search(rf"\.[US]?{part}\b", name):
            return width
    return 4


def count(instructions):
    """{kind: number}, shared loads also by width; without the padding behind the last one."""
    found = collections.Counter()
    for instruction in instructions:
        if instruction.name == "NOP":
            continue
        found["instructions"] += 1
        found[instruction.kind] += 1
        if instruction.kind == "shared_load":
            found[f"shared_load_{shared_width(instruction.name)}_bytes"] += 1
    return dict(sorted(found.items()))


class Graph:
    """A function's basic blocks, and which may follow which."""

    def __init__(self, function):
        code, labels = function.instructions, function.labels
        starts = {0, *labels.values()}
        starts |= {i + 1 for i, its in enumerate(code) if self.ends(its)}
        starts = sorted(i for i in starts if i < len(code))
        self.blocks = [code[a:b] for a, b in zip(starts, [*starts[1:], len(code)])]
        at = {start: block for block, start in enumerate(starts)}
        self.next = []
        for block, instructions in enumerate(self.blocks):
            last, following = instructions[-1], []
            # Lanes that have parted at a shuffle take BRA.DIV and come back: never in a hot loop.
            jumps = (last.name.startswith("BRA") and not last.name.startswith("BRA.DIV")
                     or self.leaves_a_loop(last))
            if jumps and (match := re.search(r"`\((.+?)\)", last.operands)):
                if labels.get(match[1]) in at:
                    following.append(at[labels[match[1]]])
            goes_on = (not self.ends(last) or self.conditional(last)
                       or last.name.startswith("BRA.DIV"))
            if goes_on and block + 1 < len(self.blocks):
                following.append(block + 1)
            self.next.append(following)
        self.order = self.reverse_postorder()

    @staticmethod
    def leaves_a_loop(instruction):
        """ptxas ends some loops for sm_80 by a CALL of a place in the same kernel, which never
        returns. (What does return has a name.)"""
        return instruction.name.startswith("CALL") and "`(.L_" in instruction.operands

    @classmethod
    def ends(cls, instruction):
        return (instruction.name.partition(".")[0] in ("BRA", "BRX", "JMP", "RET", "EXIT")
                or cls.leaves_a_loop(instruction))

    @staticmethod
    def conditional(instruction):
        """Whether some lanes may go on: a guard, or a condition among the operands."""
        return instruction.guard != "" or re.match(r"!?U?P\d", instruction.operands) is not None

    def reverse_postorder(self):
        """The blocks that can be reached from the first one."""
        seen, order, stack = {0}, [], [(0, iter(self.next[0]))] if self.blocks else []
        while stack:
            block, following = stack[-1]
            unseen = next((its for its in following if its not in seen), None)
            if unseen is None:
                order.append(block)
                stack.pop()
            else:
                seen.add(unseen)
                stack.append((unseen, iter(self.next[unseen])))
        return order[::-1]

    def dominators(self):
        """{block: the block that every way to it passes last}."""
        position = {block: i for i, block in enumerate(self.order)}
        before = collections.defaultdict(list)
        for block in self.order:
            for following in self.next[block]:
                before[following].append(block)

        def meet(a, b):
            while a != b:
                while position[a] > position[b]:
                    a = immediate[a]
                while position[b] > position[a]:
                    b = immediate[b]
            return a

        immediate, changed = {self.order[0]: self.order[0]}, True
        while changed:
            changed = False
            for block in self.order[1:]:
                new = None
                for its in before[block]:
                    if its in immediate:
                        new = its if new is None else meet(new, its)
                changed = changed or immediate.get(block) != new
                immediate[block] = new
        return immediate, before

    def loops(self):
        """{first block: all blocks} of the natural loops."""
        immediate, before = self.dominators()

        def dominates(a, b):
            while b != a and b != immediate[b]:
                b = immediate[b]
            return a == b

        found = {}
        for block in self.order:
            for head in self.next[block]:
                if not dominates(head, block):
                    continue
                body, rest = found.setdefault(head, {head}), [block]
                while rest:
                    its = rest.pop()
                    if its not in body:
                        body.add(its)
                        rest += before[its]
        return found


def code_of_loops(graph):
    """[(first block, all blocks, blocks inside other loops, instructions in no loop inside it)] of
    the loops of a function, in the order of their code."""
    loops, result = graph.loops(), []
    for head, body in sorted(loops.items()):
        inside = set().union(*(its for other, its in loops.items()
                               if other != head and its < body))
        own = [its for block in sorted(body - inside) for its in graph.blocks[block]]
        result.append((head, body, inside, own))
    return result


def loops_of(graph):
    """The loops of a function in the order of their code, each with the instructions that belong
    to it and to no loop inside it. depth 1 is an outermost loop; an innermost one holds no other.
    inside: the number, in this list, of the loop around it. Loops that agree in all of this,
    unrolled copies of one, share an entry.
    """
    loops, result, number = graph.loops(), [], {}
    for head, body, inside, own in code_of_loops(graph):
        around = min((other for other, its in loops.items() if other != head and body < its),
                     key=lambda other: len(loops[other]), default=None)
        loop = {"depth": sum(body <= its for its in loops.values()), "innermost": not inside,
                **({} if around is None else {"inside": number[around]}), **count(own)}
        same = next((i for i, its in enumerate(result)
                     if {**its, "copies": 0} == {**loop, "copies": 0}), None)
        number[head] = len(result) if same is None else same
        if same is None:
            result.append({"copies": 1, **loop})
        else:
            result[same]["copies"] += 1
    return result


def products_of(graph):
    """For each source line that multiplies and adds what it loads, in an innermost loop or one
    that is unrolled: the block with most of the line's FFMAs, which is its main loop and not the
    remainder behind it. (A line that also uses the special-function unit is an exponential or a
    division.)"""
    special = {its.source for block in graph.blocks for its in block if its.kind == "special"}
    loops, found = graph.loops(), {}
    innermost = set().union(*(body for body in loops.values()
                              if not any(other < body for other in loops.values())))
    for number in sorted(set().union(*loops.values())):
        block = graph.blocks[number]
        counts = count(block)
        if counts.get("shared_load", 0) + counts.get("global_load", 0) == 0:
            continue
        lines = collections.Counter(its.source for its in block if its.kind == "ffma"
                                    and its.source is not None and its.source not in special)
        for line, ffma in lines.items():
            if number not in innermost and ffma < UNROLLED:
                continue
            if ffma > found.get(line, {"ffma": 0})["ffma"]:
                found[line] = {"ffma": ffma, "block": number,
                               "block_instructions": counts["instructions"]}
    return [{"file": file.rsplit("/", 1)[-1], "line": line, **its}
            for (file, line), its in sorted(found.items())]


def describe(function):
    """One kernel as sass.json has it."""
    graph = Graph(function)
    return {**count(function.instructions),
            "code_bytes": INSTRUCTION_BYTES * len(function.instructions),
            "loops": loops_of(graph), "products": products_of(graph)}


def find_nvdisasm():
    """The program's path, or None: the CUDA Toolkit has it, and so has the Python package
    nvidia-cuda-nvdisasm, which does not put it on PATH."""
    try:
        return find_tool("nvdisasm")
    except Failure:
        return None


def find_tool(name):
    """The path of nvdisasm or cuobjdump."""
    try:
        import nvidia  # pylint: disable=import-outside-toplevel
        folders = [f"{folder}/{cuda}/bin" for folder in nvidia.__path__
                   for cuda in ("cu13", f"cuda_{name}")]
    except ImportError:
        folders = []
    for folder in (None, *folders):
        if found := shutil.which(name, path=folder):
            return found
    raise Failure(f"no {name}; `pip install nvidia-cuda-{name}` brings it")


def disassemble(nvdisasm, cubin):
    functions = parse(run([nvdisasm, "-c", "-gi", str(cubin)]).stdout)
    if not functions:
        raise Failure(f"{cubin}: nvdisasm shows no code")
    return functions
