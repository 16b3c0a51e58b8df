"""The sub-commands of cowrun, a module each, imported when it is used: ``cowrun.commands.NAME.command``."""
