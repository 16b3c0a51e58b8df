"""The browser of a run for a terminal, on textual: a tree of changes, and beside it diff and blame. Used by ``tui``.

Importing this costs textual, so only that command does. Names are escaped before they come here, and are never markup.
"""

from collections.abc import Iterable
from typing import ClassVar, Final

from rich.text import Text
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Footer, Input, Static, TabbedContent, TabPane, Tree
from textual.widgets.tree import TreeNode

from cowdiff.browsing import Branch, Left
from cowfs.cli.diffs.render import COLOURS, LETTERS
from cowfs.cli.output import human_size
from cowfs.model import Kind
from cowfs.runs.escape import printable

_DIFF: Final = {"+": "green", "-": "red", "@": "cyan", "#": "dim"}
_AT_ONCE: Final = 400  # names below which a directory of the tree starts open


class Browser(App[None]):
    """``left`` must stay open as long as it runs."""

    TITLE = "cowdiff"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #head { height: auto; padding: 0 1; background: $panel; }
    #tree { width: 46%; padding: 0 1; scrollbar-size: 0 1; border-right: solid $panel-lighten-1; }
    #search { display: none; height: 3; }
    #search.-shown { display: block; }
    TabPane { padding: 0 1; }
    TabPane Static { width: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "show('diff')", "diff"),
        Binding("b", "show('blame')", "blame"),
        Binding("slash", "search", "search", key_display="/"),
        Binding("escape", "everything", "all", show=False),
        Binding("tab", "app.focus_next", "other side", show=False),
        Binding("e", "expand", "expand all below"),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, left: Left) -> None:
        super().__init__()
        self._left = left

    def compose(self) -> ComposeResult:
        """The widgets."""
        head = Text(self._left.title, style="bold", no_wrap=True, overflow="ellipsis")
        yield Static(Text.assemble(head, "\n", (self._left.summary, "dim")), id="head", markup=False)
        with Horizontal():
            yield Tree[Branch](Text("/"), id="tree")
            with TabbedContent(id="about"):
                for name in ("diff", "blame"):
                    with TabPane(name, id=name), VerticalScroll():
                        yield Static("", id=f"{name}-text", markup=False)
        yield Input(placeholder="words of a path; Enter, or Escape for all", id="search")
        yield Footer()

    def on_mount(self) -> None:
        """Show all."""
        self._show("")
        self.query_one("#tree").focus()

    def _show(self, words: str) -> None:
        tree = self.query_one("#tree", Tree)
        root = self._left.tree(words)
        tree.clear()
        tree.root.data = root
        tree.root.set_label(_label(root, self._left))
        self._fill(tree.root)
        tree.root.expand()

    def _fill(self, node: TreeNode[Branch]) -> None:
        """Give a node its children, once; small ones are opened at once."""
        if node.data is None or node.children:
            return
        for branch in node.data.children():
            label = _label(branch, self._left)
            if not branch.below:
                node.add_leaf(label, data=branch)
                continue
            child = node.add(label, data=branch, expand=branch.count <= _AT_ONCE)
            if child.is_expanded:
                self._fill(child)

    @on(Tree.NodeExpanded)
    def _expanded(self, event: Tree.NodeExpanded[Branch]) -> None:
        self._fill(event.node)

    @on(Tree.NodeHighlighted)
    def _highlighted(self, event: Tree.NodeHighlighted[Branch]) -> None:
        branch = event.node.data
        change = branch.change if branch is not None else None
        diff = _coloured(self._left.diff(change)) if change else Text("")
        blame = Text("\n".join(self._left.blame(change))) if change else Text("")
        if change is not None and not diff.plain:
            diff = Text("only its times differ" if change.before else "")
        self.query_one("#diff-text", Static).update(diff)
        self.query_one("#blame-text", Static).update(blame)

    def action_show(self, name: str) -> None:
        """Diff or blame."""
        self.query_one("#about", TabbedContent).active = name

    def action_expand(self) -> None:
        """Open all that is below the cursor."""
        node = self.query_one("#tree", Tree).cursor_node
        waiting = [node] if node is not None else []
        while waiting:
            node = waiting.pop()
            self._fill(node)
            node.expand()
            waiting += node.children

    def action_search(self) -> None:
        """Ask for words."""
        search = self.query_one("#search", Input)
        search.add_class("-shown")
        search.focus()

    def action_everything(self) -> None:
        """Forget the words."""
        search = self.query_one("#search", Input)
        search.value = ""
        search.remove_class("-shown")
        self._show("")
        self.query_one("#tree").focus()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        self._show(event.value)
        self.query_one("#tree").focus()


def _label(branch: Branch, left: Left) -> Text:
    change = branch.change
    name = printable(branch.path.rpartition(b"/")[2]) or "/"
    if change is None:
        slash = "" if name == "/" else "/"
        return Text.assemble(f"{name}{slash}", (f"  {branch.count}  {human_size(branch.size)}", "dim"))
    slash = "/" if change.kind is Kind.DIRECTORY and name != "/" else ""
    colour = COLOURS.get(change.change, "dim")
    letter = (LETTERS[change.change] + " ", colour if colour == "dim" else f"bold {colour}")
    return Text.assemble(letter, (name + slash, colour), (f"  {left.note(change)}", "dim"))


def _coloured(lines: Iterable[str]) -> Text:
    text = Text(no_wrap=True)
    for line in lines:
        text.append(line + "\n", _DIFF.get(line[:1], ""))
    return text
