"""`wavecomb chain`: one module per family of sub-commands, on what io_common shares."""
