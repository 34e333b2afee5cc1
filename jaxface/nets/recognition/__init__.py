"""Networks that recognise persons, and the crops of a portrait that they expect."""
