"""Models as one file for other programs: a picture and the embeddings of any words in, labels or probabilities out."""
