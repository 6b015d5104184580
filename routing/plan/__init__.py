"""Plans: how much of every demand takes which path, so that no radio or link is overworked."""
