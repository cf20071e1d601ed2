"""Where facts about the machine come from: one file a source, each readable without the others."""
