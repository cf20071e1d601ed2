"""Images: the unlabelled manifest, decoded views, labelled sets and the built-in dice scenes."""
