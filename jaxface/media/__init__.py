"""Images, video and the faces in them: reading, writing, finding, cutting out, pasting back."""
