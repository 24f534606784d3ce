"""Tables I to IV and figure 6 of Gandhi and Jain (IJCNN 2020), measured on our own surrogates' fakes."""
