"""What makes training cheaper and learns the same: batch plans, packed rows, the vocabulary loss; and estimates."""
