"""The kinds of findings of check.py: what each is and what to do about it, in the order of the report."""

from core.vocabulary import NOTABLE, UNREADABLE, UNUSABLE, WHAT_HELPS

# What train.py refuses, and columns that it would learn nothing from: kind -> what it is and what to do about it, in
# the order of the report.
ERRORS = {
    "file": "a file that train.py needs",
    "format": "not lines of <text>, a tab, <label>; convert the file",
    "row": "rows of a table that cannot be used",
    "columns": "the columns are not texts and labels",
    "encoding": "not UTF-8; convert the file, or let --fix do it",
    "label_file": "label.txt: one label a line, each once",
    "blank_line": "blank lines; delete them",
    "no_tab": "no tab between text and label",
    "extra_tab": "more than one tab",
    "empty_text": "no text before the tab",
    "swapped_columns": "label and text change places",
    "unknown_label": "labels that are not in label.txt",
    "unreadable_data": f"{UNUSABLE:.0%} or more of the tokens are [UNK]: the model cannot read the texts. "
    f"{WHAT_HELPS}",
}
WARNINGS = {
    "header": "the first line may name the columns, or be a sample; delete it where it is none",
    "label_ids": "labels are numbers without names: the model will answer with numbers, too",
    "label_marks": "labels with fastText's __label__ before them, which the model would answer, too; "
    "data/convert.py takes it out",
    "conflict": "the same text with different labels; decide which one is right",
    "leakage": "texts of dev or test that are in another file too: the accuracy will look better than it is; take "
    "them out of the other file",
    "normalised_leakage": "the same but for width, case, punctuation and white space",
    "near_leakage": "texts of dev or test that are nearly the same as one in another file",
    "duplicate": "the same line again; copies weigh as much as new samples without telling anything new",
    "normalised_duplicate": "the same text again but for width, case, punctuation and white space",
    "already_labelled": "texts of data.txt that have a label already",
    "unused_label": "labels of label.txt without a sample in train.txt: they can never be predicted",
    "few_samples": "labels with too few samples in train.txt to be learned well",
    "not_in_dev": "labels without a sample in dev.txt: how well they are predicted stays unknown",
    "imbalance": "the most frequent label has many times the samples of the rarest; look at the macro F1, not only at "
    "the accuracy",
    "label_shift": "the labels' shares differ from those of train.txt: the files were not drawn alike",
    "unknown_tokens": f"more than {NOTABLE:.0%} of the tokens are [UNK], which the model cannot read. {WHAT_HELPS}",
    "foreign_script": "letters that data/offline_encoder, the encoder that is built here, does not have. "
    f"{WHAT_HELPS}",
    "unreadable_text": f"texts of which {UNREADABLE:.0%} or more are [UNK]: the model does not see what they say",
    "short_text": "texts without more than one letter, digit or Chinese character",
    "truncated": "texts longer than --max_length tokens: the model does not see their end",
    "control_character": "control or invisible characters; the tokenizer drops them or splits there",
    "private_use": "private-use characters: they mean something in one font only",
    "lost_character": "U+FFFD: a character was lost in an earlier conversion",
    "mixed_script": "traditional characters among simplified ones, or the other way round; the vocabulary takes them "
    "for different words",
    "quoted": "fields in quotes, as Excel and CSV programs write them; --fix takes them out",
    "mojibake": "characters of another encoding, from an earlier conversion: the text is not what was written",
    "html": "HTML entities and tags; write the characters that they stand for, or let data/convert.py do it",
    "url": "web addresses, which say little in many tokens",
    "similar_labels": "labels that differ in case, width, punctuation or white space only; make them one",
    "tab_in_unlabelled": "data.txt has one text a line and no label; tabs are read as part of the text",
}
