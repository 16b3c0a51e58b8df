"""Where an implementation is known to behave otherwise than a test says: the test must then fail.

Kept as a table so that documentation can be made of it, and so that a difference that ends is noticed.
"""

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from cowfs.fuse.transport import PLAIN
from cowfs.ondisk import TRANSPORT_ENV

DEFAULT = ("overlayfs",)  # as the kernel mounts it when nobody asks for more
AS_DEFAULT = ("overlayfs", "engine")  # and as we mount for container engines, whose stores know no more than that
EITHER = ("overlayfs", "overlayfs-full")  # also with redirect_dir, index, metacopy and xino


class Difference(NamedTuple):
    """``seen`` is what a program gets; ``tests`` are patterns of test names with parameters, "[" written ":"."""

    implementations: Sequence[str]
    seen: str
    tests: Sequence[str]
    before: tuple[int, int] = (99, 0)  # the kernel that ended it
    levers_off: bool = False  # only of a mount without the levers of the transport


LEVERS_OFF = os.environ.get(TRANSPORT_ENV) == PLAIN  # as this process mounts cowfs

DIFFERENCES = (
    Difference(
        ("cowfs",),
        "the umask is applied before we are asked, also where a default ACL should take its place",
        ("test_a_default_acl_is_inherited_and_takes_the_place_of_the_umask:*-63-*",),
        levers_off=True,
    ),
    Difference(
        AS_DEFAULT,
        "renaming a directory of an image fails with EXDEV",
        (
            "test_what_may_replace_what:empty-empty2*",
            "test_what_may_replace_what:empty-full*",
            "test_what_may_replace_what:full-empty*",
            "test_what_may_replace_what:full-full2*",
            "test_exchange:file-empty-*",
            "test_exchange:file-full-*",
            "test_exchange:link2-full-*",
            "test_exchange:empty-*",
            "test_exchange:full-empty-*",
            "test_exchange:full-full2-*",
            "test_exchange:full-file-*",
            "test_noreplace:empty",
            "test_noreplace:full",
            "test_a_merged_directory_is_renamed_and_keeps_its_names",
            "test_a_lower_directory_is_renamed_again_and_again",
            "test_a_name_that_a_directory_left_can_be_taken_by_a_new_one",
            "test_lower_directories_are_exchanged",
            "test_an_opaque_directory_is_renamed",
            "test_redirects_outlive_a_new_layer",
            "test_an_open_file_follows_its_rename",
            "test_marks_are_hidden_wherever_the_merge_made_some",
            "test_a_directory_that_moves_takes_its_numbers_along",
            "test_no_two_files_share_a_number",
            "test_numbers_stay_through_rename_and_remount:dir",
        ),
    ),
    Difference(
        AS_DEFAULT,
        "the names of a hard-linked file of an image part at the first write",
        (
            "test_lower_hard_links_stay_one_file_after_a_write",
            "test_lower_hard_links_stay_one_file_after_a_remount",
            "test_two_names_of_one_file_are_left_alone",
            "test_a_record_lock_holds_across_the_copy_up_for_every_name",
            "test_one_name_of_a_lower_file_is_removed_while_it_is_open_by_another",
            "test_an_open_file_has_the_number_of_its_name",
            "test_an_open_file_that_lost_its_name_is_still_the_file_of_its_other_name:lower",
        ),
    ),
    Difference(
        ("engine",),
        "a name of an image that begins with .wh. deletes another, as fuse-overlayfs writes it, and is not shown",
        ("test_a_whiteout_name_of_an_image_is_an_ordinary_name:*",),
    ),
    Difference(
        ("engine",),
        "opening for writing copies the file, and its parents, though nothing is written",
        ("test_opening_for_writing_without_a_write_changes_nothing:*",),
    ),
    Difference(
        EITHER,
        "a reader that was open before the copy-up sees the old bytes for ever",
        ("test_a_reader_that_was_open_before_the_copy_up_sees_later_writes",),
        before=(6, 13),
    ),
    Difference(
        EITHER,
        "a shared mapping that was made before the copy-up shows the old bytes for ever",
        ("test_a_shared_mapping_sees_writes_across_the_copy_up",),
    ),
    Difference(
        EITHER,
        "opening for writing copies the file, and its parents, though nothing is written",
        ("test_opening_for_writing_without_a_write_changes_nothing:*", "test_failed_operations_change_nothing"),
    ),
    Difference(
        AS_DEFAULT,
        "a change of attributes or of the name copies all data",
        ("test_changes_of_attributes_and_names_copy_no_data:*",),
    ),
    Difference(
        EITHER,
        "an open directory of an image that was removed still counts its links",
        ("test_an_open_directory_that_was_removed_has_no_names:lower",),
    ),
    Difference(
        AS_DEFAULT,
        "a file with several names gets another number when it is copied up",
        (
            "test_numbers_stay_through_rename_and_remount:file",
            "test_numbers_stay_through_copy_up_and_remount:write-linked",
        ),
    ),
    Difference(
        EITHER,
        "removing an ACL that is not there fails with ENODATA",
        ("test_removing_an_acl_that_is_not_there_is_no_error",),
    ),
    Difference(
        EITHER,
        "a listing shows a whiteout that hides nothing, as a name that does not exist",
        ("test_a_whiteout_that_hides_nothing_is_not_seen",),
    ),
)


def expected(implementation: str, test: str) -> Difference | None:
    """The row that says that this test fails for this implementation, if there is one."""
    label = test.replace("[", ":").replace("]", "")
    major, minor = os.uname().release.split(".")[:2]
    for difference in DIFFERENCES:
        if implementation not in difference.implementations or (int(major), int(minor)) >= difference.before:
            continue
        if difference.levers_off and not LEVERS_OFF:
            continue
        if any(fnmatchcase(label, pattern) for pattern in difference.tests):
            return difference
    return None
